"""Pitch: known tones give their frequency, and what has no pitch gives NaN with a reason."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnikit.metrics.prosody import median_pitch, semitones

RATE = 16_000


def buzz(hz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A tone with five falling harmonics."""
    t = np.arange(int(seconds * rate)) / rate
    return sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 6)).astype(np.float32)


@pytest.mark.parametrize("hz", [80.0, 110.0, 220.0, 410.0])
def test_tones(hz: float) -> None:
    assert median_pitch(buzz(hz), RATE).median_hz == pytest.approx(hz, rel=0.005)
    sine = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)
    assert median_pitch(sine, RATE).median_hz == pytest.approx(hz, rel=0.005)


def test_the_rate_counts() -> None:
    assert median_pitch(buzz(220.0, rate=22_050), 22_050).median_hz == pytest.approx(220.0, rel=0.005)


def test_the_median_is_over_voiced_frames_only() -> None:
    wave = np.concatenate([np.zeros(RATE), buzz(150.0), np.zeros(RATE), buzz(150.0), buzz(300.0, 0.5)])
    pitch = median_pitch(wave, RATE)
    assert pitch.median_hz == pytest.approx(150.0, rel=0.005)
    assert 230 < pitch.num_voiced < 260


@pytest.mark.parametrize("gain", [0.001, 0.1, 3.0])
def test_gain_changes_nothing(gain: float) -> None:
    wave = buzz(180.0) * np.linspace(0.2, 1.0, RATE)
    assert median_pitch(gain * wave, RATE).median_hz == pytest.approx(median_pitch(wave, RATE).median_hz, rel=1e-6)


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(RATE, 1e-5), "silent"),
        (np.zeros(0), "too short"),
        (buzz(200.0, 0.03), "too short"),
        (np.random.default_rng(0).standard_normal(RATE), "voiced frames"),
        (np.array([np.nan] * RATE), "NaN"),
    ],
)
def test_what_has_no_pitch_gives_no_number(wave: np.ndarray, reason: str) -> None:
    pitch = median_pitch(wave, RATE)
    assert math.isnan(pitch.median_hz)
    assert reason in pitch.reason


def test_semitones() -> None:
    assert semitones(440.0, 220.0) == pytest.approx(12.0)
    assert semitones(220.0, 440.0) == pytest.approx(-12.0)
    assert semitones(233.08, 220.0) == pytest.approx(1.0, abs=1e-3)
    assert math.isnan(semitones(math.nan, 220.0))
