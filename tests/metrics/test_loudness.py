"""Loudness against what BS.1770 says of sines, at several rates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnikit.metrics.loudness import _high_pass, _high_shelf, loudness


def sine(rate: int, seconds: float = 2.0, hz: float = 997.0, peak: float = 1.0) -> np.ndarray:
    return peak * np.sin(2 * math.pi * hz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 48_000])
def test_a_full_scale_sine_of_997_hz_has_minus_3_lufs(rate: int) -> None:
    assert loudness(sine(rate), rate) == pytest.approx(-3.01, abs=0.05)


def test_gain_moves_it_by_as_many_units() -> None:
    assert loudness(sine(16_000, peak=0.1), 16_000) == pytest.approx(loudness(sine(16_000), 16_000) - 20, abs=1e-6)


def test_the_filters_at_48_khz_are_those_of_the_recommendation() -> None:
    top, bottom = _high_shelf(48_000)
    assert top == pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-6)
    assert bottom == pytest.approx([1.0, -1.69065929318241, 0.73248077421585], abs=1e-6)
    assert _high_pass(48_000)[1] == pytest.approx([1.0, -1.99004745483398, 0.99007225036621], abs=1e-6)


def test_pauses_do_not_count() -> None:
    spoken = sine(16_000, 4.0, peak=0.2)
    paused = np.concatenate([spoken, np.zeros(8 * 16_000)])
    assert loudness(paused, 16_000) == pytest.approx(loudness(spoken, 16_000), abs=0.4)


def test_silence_and_nothing_are_minus_infinity_and_short_sounds_are_measured() -> None:
    assert loudness(np.zeros(16_000), 16_000) == -math.inf
    assert loudness(np.zeros(0), 16_000) == -math.inf
    assert loudness(sine(16_000, 0.1), 16_000) == pytest.approx(-3.0, abs=0.5)
