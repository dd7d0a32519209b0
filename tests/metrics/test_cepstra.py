"""Mel-cepstral distance: planted cepstra give planted decibels; warping undoes a change of tempo and nothing else."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.signal import lfilter

from omnikit.errors import OmnikitError
from omnikit.metrics.cepstra import frame_distances, mel_cepstra, timed_distance, warped_distance, warping_path

RATE = 16_000


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def test_a_planted_ripple_has_the_distance_of_its_depth() -> None:
    """ln A = a cos(π d (m + 1/2) / M) is c_d = a: a ripple of ± 6 dB differs by 6 dB / √2 from a flat spectrum."""
    depth = 6 * math.log(10) / 20
    flat, ripple = np.zeros((4, 13)), np.zeros((4, 13))
    ripple[:, 4] = depth
    assert frame_distances(flat, ripple) == pytest.approx(np.full(4, 6 / math.sqrt(2)))


def test_the_level_does_not_count_and_the_spectrum_does() -> None:
    wave = noise()
    one, active = mel_cepstra(wave, RATE)
    assert one.shape == (100, 13)
    assert active.all()
    louder, _ = mel_cepstra(3 * wave, RATE)
    duller, _ = mel_cepstra(lfilter([1.0], [1.0, -0.9], wave), RATE)
    assert timed_distance(one, louder, active) < 0.1
    assert timed_distance(one, duller, active) > 4


def test_the_same_sound_has_no_distance_and_silence_does_not_count() -> None:
    wave = np.concatenate([noise(0.5), np.zeros(RATE // 2)])
    cepstra, active = mel_cepstra(wave, RATE)
    assert 45 <= active.sum() <= 55
    assert warped_distance(cepstra, cepstra, active) == timed_distance(cepstra, cepstra, active) == 0.0
    other = cepstra.copy()
    other[60:] += 1.0
    assert timed_distance(cepstra, other, active) == 0.0
    assert math.isnan(timed_distance(cepstra, other, np.zeros(100, dtype=bool)))


def test_warping_undoes_tempo() -> None:
    rng = np.random.default_rng(0)
    slow = np.repeat(rng.standard_normal((20, 13)), 3, axis=0)
    fast = slow[::3]
    active = np.ones(60, dtype=bool)
    assert warped_distance(slow, fast, active) == 0.0
    assert timed_distance(slow, fast, active) > 5


def test_the_path_is_the_best_of_all() -> None:
    costs = np.random.default_rng(1).random((4, 5))

    def paths(i: int, j: int):  # type: ignore[no-untyped-def]
        if (i, j) == (3, 4):
            yield [(i, j)]
            return
        for di, dj in ((1, 1), (1, 0), (0, 1)):
            if i + di < 4 and j + dj < 5:
                yield from ([(i, j), *rest] for rest in paths(i + di, j + dj))

    sums = [sum(costs[place] for place in path) for path in paths(0, 0)]
    found = warping_path(costs)
    assert costs[found[:, 0], found[:, 1]].sum() == pytest.approx(min(sums))
    assert found[0].tolist() == [0, 0] and found[-1].tolist() == [3, 4]
    steps = {tuple(after - before) for before, after in itertools.pairwise(found)}
    assert steps <= {(1, 1), (1, 0), (0, 1)}


def test_too_short_is_refused() -> None:
    with pytest.raises(OmnikitError, match="no frame of 10 ms"):
        mel_cepstra(np.zeros(100, np.float32), RATE)
