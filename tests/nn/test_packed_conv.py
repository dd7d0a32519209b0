"""Convolutions over a packed weight: the numbers of the ordinary ones."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from omnikit.nn.folding import folded
from omnikit.nn.packed_conv import PackedConv1d, packed_convs


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(6, 10, 5, padding=2),
        nn.Conv1d(10, 10, 3, padding=1, groups=10),
        nn.Conv1d(10, 8, 3, padding=3, dilation=3),
        nn.Conv1d(8, 8, 4, padding=1, bias=False),
        nn.Conv1d(8, 3, 1),
    ).eval()


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_it_is_the_convolution(steps: int) -> None:
    plain = network()
    twin, x = packed_convs(folded(plain)), torch.randn(2, 6, steps + 4)
    assert [type(module) for module in twin] == [PackedConv1d, nn.Conv1d, nn.Conv1d, PackedConv1d, PackedConv1d]
    assert {type(module) for module in plain} == {nn.Conv1d}
    with torch.no_grad():
        torch.testing.assert_close(twin(x), plain(x), atol=1e-6, rtol=1e-5)
        inner = nn.functional.conv1d(x, plain[0].weight, plain[0].bias)
        torch.testing.assert_close(twin[0].inner(x), inner, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(twin(x), plain(x), atol=1e-6, rtol=1e-5)  # gradients are on: nothing packed
    assert list(twin.state_dict()) == list(plain.state_dict())


@torch.no_grad()
def test_it_can_be_copied_and_kept() -> None:
    twin, x = packed_convs(folded(network())), torch.randn(1, 6, 9)
    said = twin(x)
    for other in (copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))):
        assert torch.equal(other(x), said)
