"""Noise of rows does not depend on the other rows of a batch."""

from __future__ import annotations

import pytest
import torch

from omnikit.nn.row_noise import RowNoise


def noise(places: list[int], lengths: list[int], num_steps: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = RowNoise(places, torch.Generator().manual_seed(seed), torch.device("cpu"))
    return draws.normal(3, lengths, num_steps), draws.uniform()


def test_a_share_draws_what_its_rows_draw_in_the_whole_batch() -> None:
    lengths = [40, 17, 25, 3, 9]
    normal, uniform = noise([0, 1, 2, 3, 4], lengths, 40)
    for places in ([0, 2, 4], [1, 3], [4]):
        own = [lengths[place] for place in places]
        part, starts = noise(places, own, max(own))
        assert torch.equal(part, normal[places, :, : max(own)])
        assert torch.equal(starts, uniform[places])


def test_rows_and_seeds_differ_and_padding_is_zero() -> None:
    normal, uniform = noise([0, 1], [400, 300], 400)
    assert normal[0].std().item() == pytest.approx(1, abs=0.1)
    assert not normal[1, :, 300:].any()
    assert not torch.equal(normal[0, :, :300], normal[1, :, :300])
    assert not torch.equal(normal, noise([0, 1], [400, 300], 400, seed=1)[0])
    assert ((uniform >= 0) & (uniform < 1)).all() and uniform[0] != uniform[1]
