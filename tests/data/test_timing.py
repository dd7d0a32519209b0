"""Durations carried from one rendering to another: exact sums, monotone, and right where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.data.espeak import Espeak
from omnikit.data.prosody import prosody_of
from omnikit.data.timing import warp_durations
from omnikit.errors import DataError

steps = st.lists(st.floats(0.0, 0.3), min_size=0, max_size=30)


def timeline(gaps: list[float], symbols: str = "ab") -> list[tuple[str, float, float]]:
    edges = np.cumsum([0.0, *gaps])
    return [(symbols[i % len(symbols)], float(edges[i]), float(edges[i + 1])) for i in range(len(gaps))]


@settings(max_examples=200, deadline=None)
@given(
    one=steps,
    other=steps,
    num_units=st.integers(1, 80),
    num_frames=st.integers(0, 400),
    unit_s=st.sampled_from([0.02, 0.04, 0.08]),
    frame_s=st.sampled_from([0.01, 0.016]),
)
def test_sum_is_exact_and_nothing_negative(
    one: list[float], other: list[float], num_units: int, num_frames: int, unit_s: float, frame_s: float
) -> None:
    frames = warp_durations(timeline(one), timeline(other), num_units, unit_s, frame_s, num_frames)
    assert frames.shape == (num_units,)
    assert frames.sum() == num_frames
    assert frames.min() >= 0


@settings(max_examples=100, deadline=None)
@given(gaps=steps.filter(lambda gaps: sum(gaps) > 0.1), factor=st.floats(0.5, 2.0))
def test_a_uniform_stretch_is_found(gaps: list[float], factor: float) -> None:
    unit_s, frame_s = 0.04, 0.01
    num_units = max(1, round(sum(gaps) / unit_s))
    num_frames = round(num_units * unit_s * factor / frame_s)
    frames = warp_durations(
        timeline(gaps), timeline([gap * factor for gap in gaps]), num_units, unit_s, frame_s, num_frames
    )
    ideal = np.arange(num_units + 1) * unit_s * factor / frame_s
    assert np.abs(np.concatenate([[0], np.cumsum(frames)]) - ideal).max() <= max(2.0, unit_s * factor / frame_s)


def test_phones_that_stretch_unevenly_are_followed() -> None:
    one = [("a", 0.0, 0.4), ("b", 0.4, 0.8)]
    other = [("a", 0.0, 0.8), ("b", 0.8, 1.0)]  # the first phone twice as long, the second half as long
    fine = warp_durations(one, other, 8, 0.1, 0.1, 10).tolist()
    assert (fine[:4], sum(fine[4:]), max(fine[4:])) == ([2, 2, 2, 2], 2, 1)
    assert warp_durations(one, other, 4, 0.2, 0.1, 10).tolist() == [4, 4, 1, 1]


def test_other_phones_fall_back_to_a_uniform_stretch() -> None:
    one = [("a", 0.0, 0.4), ("b", 0.4, 0.8)]
    other = [("a", 0.0, 0.8), ("x", 0.8, 1.6)]
    assert warp_durations(one, other, 4, 0.2, 0.1, 16).tolist() == [4, 4, 4, 4]


@pytest.mark.parametrize("sizes", [(0, 0.04, 0.01, 5), (3, 0.0, 0.01, 5), (3, 0.04, -1.0, 5), (3, 0.04, 0.01, -1)])
def test_sizes_that_make_no_sense_are_refused(sizes: tuple[int, float, float, int]) -> None:
    with pytest.raises(DataError, match="Cannot spread"):
        warp_durations([], [], *sizes)


def test_units_of_real_speech_land_inside_their_phones(espeak: Espeak) -> None:
    text = "my brother found seven windows near the old bridge."
    plain = espeak.synthesise(text)
    style = {"emotion": "sad", "speed": "slow", "pitch": "normal"}
    styled = espeak.synthesise(text, "f3", prosody_of(style))
    unit_s, frame_s = 0.04, 0.01
    num_units = int(plain.wave.size / 16_000 / unit_s)
    num_frames = int(styled.wave.size / 16_000 / frame_s)
    frames = warp_durations(plain.phones, styled.phones, num_units, unit_s, frame_s, num_frames)
    edges = np.concatenate([[0], np.cumsum(frames)]) * frame_s
    for (symbol, start, _), (other, moved, _) in zip(plain.phones, styled.phones, strict=True):
        assert symbol == other
        unit = min(int(start / unit_s), num_units - 1)
        assert edges[unit] - 0.06 <= moved <= edges[unit + 1] + 0.06
