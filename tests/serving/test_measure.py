"""What is measured of known sounds is what they are."""

from __future__ import annotations

import math

import numpy as np
import torch

from omnikit.serving.measure import listen, sound_of
from omnikit.types import Audio

RATE = 16_000


def voice(hz: float, seconds: float, gain: float = 0.2) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return (gain * sum(np.sin(2 * math.pi * hz * k * time) / k for k in range(1, 8))).astype(np.float32)


def test_pitch_and_duration_of_a_steady_voice() -> None:
    sound = listen(voice(180.0, 0.8), RATE)
    assert abs(sound.median_f0_hz - 180) < 1
    assert sound.duration_s == 0.8
    assert len(sound.f0_hz) == 80
    assert np.nanmax(np.abs(sound.f0_hz - 180)) < 2


def test_the_track_stands_at_its_time() -> None:
    wave = np.concatenate([np.zeros(RATE // 2, dtype=np.float32), voice(150.0, 0.5)])
    voiced = np.flatnonzero(~np.isnan(listen(wave, RATE).f0_hz)) * 0.01
    assert 0.48 <= voiced[0] <= 0.55
    assert voiced[-1] > 0.9


def test_half_the_amplitude_is_six_decibels_less() -> None:
    loud, soft = listen(voice(150.0, 0.5), RATE), listen(voice(150.0, 0.5, 0.1), RATE)
    assert abs(loud.level_db - soft.level_db - 6.02) < 0.01


def test_silence_and_clicks_have_no_pitch() -> None:
    for wave in (np.zeros(RATE, dtype=np.float32), np.ones(40, dtype=np.float32)):
        sound = listen(wave, RATE)
        assert math.isnan(sound.median_f0_hz)
        assert np.isnan(sound.f0_hz).all()
    assert listen(np.zeros(RATE, dtype=np.float32), RATE).level_db == -math.inf


def test_padding_of_a_batch_is_not_heard() -> None:
    wave = torch.from_numpy(voice(150.0, 0.5))
    batch = torch.stack([torch.cat([wave, torch.ones(4000)]), torch.ones(12_000)])
    sound = sound_of(Audio(batch, torch.tensor([8000, 12_000]), RATE))
    assert np.array_equal(sound.wave, wave.numpy())
