"""Masks, shifts and negatives of SPIRAL pre-training: their sizes, and that a row's draws are its own."""

from __future__ import annotations

import pytest
import torch

from omnikit.nn.spiral_masking import Draws, Masking, draw, hide, other_steps, shift, spans


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("size", "share", "span"), [(400, 0.5, 20), (128, 0.4, 20), (97, 0.3, 8)])
def test_the_summed_length_of_spans_is_the_share_in_the_mean(size: int, share: float, span: int) -> None:
    rng = generator()
    masks = torch.stack([spans(size, share, span, 0, rng) for _ in range(2000)])
    starts = share * size / span
    expected = 1 - (1 - span / (size - span)) ** starts  # of a place away from the ends
    middle = masks[:, span : size - 2 * span].float().mean().item()
    assert middle == pytest.approx(expected, abs=0.03)
    assert not masks[:, -1].any()


def test_spans_have_their_length_and_short_rows_keep_half() -> None:
    rng = generator()
    assert spans(200, 0.0, 20, 1, rng).sum() == 20
    for size in range(1, 30):
        hidden = int(spans(size, 0.5, 20, 2, rng).sum())
        assert hidden < size and (hidden > 0) == (size > 1)


def test_negatives_are_all_other_steps_alike() -> None:
    drawn = other_steps(6, 4000, generator())
    for step, row in enumerate(drawn):
        counts = row.bincount(minlength=6)
        assert counts[step] == 0
        assert counts.sum() == 4000 and (counts[counts > 0] - 800).abs().max() < 120
    assert other_steps(1, 3, generator()).tolist() == [[0, 0, 0]]


def test_a_row_is_drawn_alike_whatever_is_beside_it() -> None:
    masking = Masking(channel_span=4)
    both = draw(masking, [80, 50], [20, 13], 16, 5, generator(1), [generator(7), generator(8)])
    alone = draw(masking, [50], [13], 16, 5, generator(1), [generator(8)])
    assert alone.shift == both.shift and all(0 <= steps <= 16 for steps in both.shift)
    assert torch.equal(alone.time_mask[0], both.time_mask[1, :50]) and not both.time_mask[1, 50:].any()
    assert torch.equal(alone.channel_mask[0], both.channel_mask[1])
    assert torch.equal(alone.negatives[0], both.negatives[1, :13])


def test_hidden_bands_are_zero_and_hidden_times_the_filler() -> None:
    frames, filler = torch.ones(1, 6, 3), torch.tensor([5.0, 6.0, 7.0])
    time_mask = torch.tensor([[False, True, False, False]])
    draws = Draws(time_mask, torch.tensor([[False, False, True]]), (0, 0), torch.zeros(1, 1, 1, dtype=torch.long))
    seen = hide(frames, draws, filler)
    assert seen[0, 1].tolist() == [5.0, 6.0, 0.0]
    assert seen[0, 5].tolist() == [1.0, 1.0, 0.0]


def test_a_shifted_row_ends_with_the_filler_and_then_nothing() -> None:
    frames = torch.arange(1.0, 9).reshape(2, 4, 1) * torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])[..., None]
    shifted, lengths = shift(frames, torch.tensor([4, 2]), 1, 2, torch.tensor([-1.0]))
    assert shifted[..., 0].tolist() == [[-1, 1, 2, 3, 4, -1, -1], [-1, 5, 6, -1, -1, 0, 0]]
    assert lengths.tolist() == [7, 5]
