"""The optimiser of the stages: the numbers of AdamW, in one pass over memory where that can be."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from omnikit.stages.optim import Optim


def weights(seed: int = 0) -> list[nn.Parameter]:
    draws = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(size, generator=draws)) for size in ((7, 5), (33,), (1,), (40, 3, 2))]


def taught(optimizer: torch.optim.Optimizer, own: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        draws = torch.Generator().manual_seed(step)
        for weight in own:
            weight.grad = torch.randn(weight.shape, generator=draws)
        optimizer.step()


@pytest.mark.parametrize("grouped", [False, True])
def test_it_is_adamw(grouped: bool) -> None:
    own, other = weights(), weights()
    optim = Optim(lr=1e-2, steps=100, betas=(0.8, 0.99), eps=1e-9, weight_decay=0.1)
    parts = [{"params": iter(own[:2]), "lr": 1e-3}, {"params": own[2:]}] if grouped else iter(own)
    optimizer, _ = optim.build(parts)  # type: ignore[arg-type]
    assert optimizer.defaults["fused"] is True
    plain_parts = [{"params": other[:2], "lr": 1e-3}, {"params": other[2:]}] if grouped else other
    plain = torch.optim.AdamW(plain_parts, lr=1e-2, betas=(0.8, 0.99), eps=1e-9, weight_decay=0.1, fused=False)
    for group, expected in zip(optimizer.param_groups, plain.param_groups, strict=True):
        assert group["lr"] == pytest.approx(expected["lr"] * optim.factor(0))
    taught(optimizer, own, range(20)), taught(plain, other, range(20))
    torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-6)


def test_a_run_that_was_kept_goes_on() -> None:
    whole, first = weights(), weights()
    optim = Optim(lr=1e-2, steps=100)
    taught(optim.build(whole)[0], whole, range(6))
    before, _ = optim.build(first)
    taught(before, first, range(3))
    kept, second = before.state_dict(), [nn.Parameter(weight.detach().clone()) for weight in first]
    after, _ = optim.build(second)
    after.load_state_dict(copy.deepcopy(kept))
    taught(after, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(second, whole, strict=True))
    for group in kept["param_groups"]:
        group["fused"] = None  # as runs of before have it
    older = [nn.Parameter(weight.detach().clone()) for weight in first]
    after, _ = optim.build(older)
    after.load_state_dict(copy.deepcopy(kept))
    taught(after, older, range(3, 6))
    torch.testing.assert_close(older, second, atol=1e-6, rtol=1e-6)


def test_gradients_can_be_clipped_in_mixed_precision() -> None:
    """Lightning refuses to clip for an optimiser that unscales gradients by itself."""
    optimizer, _ = Optim(lr=1e-2, steps=10).build(weights())
    assert not optimizer._step_supports_amp_scaling  # type: ignore[attr-defined]


def test_other_weights_are_updated_as_torch_likes() -> None:
    half = [nn.Parameter(torch.ones(3, dtype=torch.bfloat16))]
    assert Optim(lr=1e-2, steps=10).build([*weights(), *half])[0].defaults["fused"] is None
