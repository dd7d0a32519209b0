"""Measures of a voice on signals whose pitch, level and tilt are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnikit.metrics.voice import level_db, spectral_tilt, voice_of

RATE = 16_000


def coloured(slope_db: float, seconds: float = 4.0) -> np.ndarray:
    """Noise whose power density falls by `slope_db` an octave."""
    size = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(size))
    hz = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 20.0)
    return np.fft.irfft(spectrum * (hz / 1000) ** (slope_db / (20 * math.log10(2))), size)


@pytest.mark.parametrize("slope", [-12.0, -6.0, 0.0, 3.0])
def test_the_tilt_of_coloured_noise_is_its_slope(slope: float) -> None:
    assert spectral_tilt(coloured(slope), RATE) == pytest.approx(slope, abs=0.4)


def test_the_tilt_does_not_hear_level_or_pauses() -> None:
    wave = coloured(-6.0)
    tilt = spectral_tilt(wave, RATE)
    assert spectral_tilt(0.01 * wave, RATE) == pytest.approx(tilt)
    assert spectral_tilt(np.concatenate([wave, np.zeros(RATE)]), RATE) == pytest.approx(tilt, abs=0.1)
    assert spectral_tilt(coloured(-6.0)[::2], RATE // 2) == pytest.approx(-6, abs=1.5)


def test_a_tone_has_its_pitch_level_and_length() -> None:
    time = np.arange(RATE) / RATE
    wave = sum(0.1 / k * np.sin(2 * np.pi * 150 * k * time) for k in range(1, 10))
    voice = voice_of(wave.astype(np.float32), RATE)
    assert voice.seconds == 1.0
    assert voice.f0_hz == pytest.approx(150, abs=1)
    power = sum((0.1 / k) ** 2 / 2 for k in range(1, 10))
    assert voice.level_db == pytest.approx(10 * math.log10(power), abs=0.05)
    assert voice.tilt < -3


def test_silence_has_neither() -> None:
    voice = voice_of(np.zeros(RATE, np.float32), RATE)
    assert math.isnan(voice.f0_hz) and math.isnan(voice.level_db) and math.isnan(voice.tilt)
    assert math.isnan(level_db(np.zeros(0)))
