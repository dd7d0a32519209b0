"""The pitch of frames: that of tones, none of noise and silence, the same in pieces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from omnikit.nn.pitch import frame_pitch, pitch_at

RATE, HOP = 16_000, 128


def tone(hz: float, fall: float, seconds: float = 0.5) -> Tensor:
    """Harmonics of `hz` up to half the rate [1, S]; the k-th is k^-fall as loud as the first."""
    time = torch.arange(round(seconds * RATE)) / RATE
    numbers = torch.arange(1, int(RATE / 2 / hz))[:, None]
    return (torch.cos(2 * torch.pi * numbers * hz * time + numbers.square()) / numbers**fall).sum(0)[None]


@pytest.mark.parametrize("hz", [70.0, 88.5, 103.0, 150.0, 220.0, 317.0, 400.0])
@pytest.mark.parametrize("fall", [0.0, 1.0, 2.0])
def test_tones_have_their_pitch(hz: float, fall: float) -> None:
    found = frame_pitch(0.1 * tone(hz, fall), RATE, HOP)
    assert found.shape == (1, 62)
    torch.testing.assert_close(found[:, 4:-4], torch.full((1, 54), hz), atol=0, rtol=0.005)


def test_a_glide_is_followed() -> None:
    time = torch.arange(RATE) / RATE
    turns = 100 * time + 50 * time.square()  # 100 to 200 Hz
    found = frame_pitch(sum((2 * torch.pi * k * turns).cos() for k in range(1, 20))[None], RATE, HOP)[0]
    middle = 100 + 100 * (torch.arange(len(found)) * HOP + HOP / 2) / RATE
    torch.testing.assert_close(found[4:-4], middle[4:-4], atol=0, rtol=0.01)


@pytest.mark.parametrize("hop_size", [128, 256, 2048])
def test_noise_and_silence_have_none(hop_size: int) -> None:
    noise = torch.randn(4, RATE, generator=torch.Generator().manual_seed(0))
    assert not frame_pitch(noise, RATE, hop_size).any()
    silence = frame_pitch(torch.zeros(2, 5000), RATE, hop_size)
    assert silence.shape == (2, 5000 // hop_size) and not silence.any()


def test_what_is_much_softer_than_the_rest_is_silent() -> None:
    wave = torch.cat([tone(120, 1), 0.003 * tone(120, 1)], 1)
    found = frame_pitch(wave, RATE, HOP)[0]
    assert found[4:58].all() and not found[68:].any()


@pytest.mark.parametrize("first", [0, 3, 50])
def test_frames_of_a_stretch_are_those_of_the_whole(first: int) -> None:
    wave = torch.cat([tone(110, 1), tone(140, 1)], 1)
    at = torch.arange(first, first + 20)[None]
    whole = frame_pitch(wave, RATE, HOP)
    torch.testing.assert_close(pitch_at(wave, at, RATE, HOP), whole[:, first : first + 20])
    assert not pitch_at(wave, at + 200, RATE, HOP).any()
