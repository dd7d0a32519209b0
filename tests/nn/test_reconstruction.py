"""The decoder that predicts log-mel frames from codes."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from omnikit.errors import OmnikitError
from omnikit.nn.reconstruction import MelReconstruction


def head(rate: int = 25) -> MelReconstruction:
    torch.manual_seed(0)
    return MelReconstruction(3, 8, 10, Fraction(rate)).eval()


def sound(*samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    wave = torch.randn(len(samples), max(samples), generator=torch.Generator().manual_seed(1))
    return wave, torch.tensor(samples)


@pytest.mark.parametrize(("rate", "frames"), [(25, 4), (50, 2), (100, 1)])
def test_every_step_tells_its_share_of_the_mel_frames(rate: int, frames: int) -> None:
    assert head(rate)(torch.zeros(2, 7, 3), torch.tensor([7, 4])).shape == (2, 7 * frames, 10)


def test_the_error_is_that_of_the_frames_a_row_has() -> None:
    model, (wave, samples) = head(), sound(16_000, 7_000)
    codes, lengths = torch.randn(2, 25, 3, generator=torch.Generator().manual_seed(2)), torch.tensor([25, 11])
    both = model.errors(codes, lengths, wave, samples)
    target, frames = model.target(wave, samples)
    assert frames.tolist() == [100, 44]
    found = model(codes, lengths)
    for row in range(2):
        count = int(frames[row])
        by_hand = (found[row, :count] - target[row, :, :count].T).abs().mean()
        torch.testing.assert_close(both[row], by_hand)
        alone = model.errors(
            codes[row : row + 1, : lengths[row]],
            lengths[row : row + 1],
            wave[row : row + 1, : samples[row]],
            samples[row : row + 1],
        )
        torch.testing.assert_close(alone[0], both[row], rtol=1e-4, atol=1e-5)


def test_it_learns_a_sound_from_codes_that_tell_it() -> None:
    model, (wave, samples) = head().train(), sound(8_000)
    target, _ = model.target(wave, samples)
    codes = target[:, :3, ::4].transpose(1, 2)[:, :13].contiguous()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        error = model.errors(codes, torch.tensor([13]), wave, samples).mean()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.7 * errors[0]


def test_a_rate_that_does_not_divide_the_mel_rate_is_refused() -> None:
    with pytest.raises(OmnikitError, match="ratio must be whole"):
        MelReconstruction(3, 8, 10, Fraction(75, 2))
