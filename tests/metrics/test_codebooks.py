"""Use of codebooks against entropies known in advance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnikit.errors import OmnikitError
from omnikit.metrics.codebooks import merged_runs, miller_madow_bits, unit_edit_distance, unit_use


def test_equal_use_is_the_full_entropy() -> None:
    use = unit_use([np.arange(8)[None], np.arange(8)[None]], [8])
    assert use.bits == pytest.approx(3.0)
    assert use.perplexity(use.bits) == pytest.approx(8.0)
    assert (use.used, use.num_steps) == (1.0, 16)
    assert use.bits_low == use.bits_high == pytest.approx(3.0)


def test_one_unit_says_nothing() -> None:
    use = unit_use([np.full((1, 9), 5)], [8])
    assert use.bits == 0.0
    assert use.used == 1 / 8
    assert math.isnan(use.bits_low)


def test_codebooks_add_up() -> None:
    codes = np.array([[0, 1, 0, 1], [0, 0, 0, 0]])  # [K, T]
    use = unit_use([codes, codes], [2, 4])
    assert use.bits == pytest.approx(1.0)
    assert use.used == 3 / 6
    assert use.perplexity(use.bits) == pytest.approx(2**0.5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    chances = np.array([0.5, 0.25, 0.125, 0.125])
    covered = 0
    for _ in range(200):
        use = unit_use([rng.choice(4, size=(1, 50), p=chances) for _ in range(40)], [4])
        covered += use.bits_low <= 1.75 <= use.bits_high
    assert 180 <= covered <= 199


def test_no_units_and_foreign_ids_are_refused() -> None:
    with pytest.raises(OmnikitError, match="no units"):
        unit_use([], [8])
    with pytest.raises(OmnikitError, match=r"0\.\.7"):
        unit_use([np.array([[8]])], [8])


def test_miller_madow_adds_the_bias_that_the_plug_in_has() -> None:
    counts = np.array([3, 0, 1, 4])
    shares = counts[counts > 0] / 8
    wanted = float(-(shares * np.log(shares)).sum() + (3 - 1) / (2 * 8)) / math.log(2)
    assert miller_madow_bits(counts) == pytest.approx(wanted)
    assert miller_madow_bits(np.zeros(4, int)) == 0.0


def test_the_correction_brings_small_samples_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(0)
    uses = [unit_use([rng.integers(0, 64, (1, 300))], [64]) for _ in range(20)]
    assert np.mean([use.bits for use in uses]) < 5.9
    assert np.mean([use.bits_corrected for use in uses]) == pytest.approx(6.0, abs=0.03)


def test_runs_are_merged_over_all_codebooks_and_keep_their_time() -> None:
    codes = np.array([[1, 1, 1, 2, 2], [5, 5, 6, 6, 6]])
    merged, frames = merged_runs(codes)
    assert merged.tolist() == [[1, 1, 2], [5, 6, 6]]
    assert frames.tolist() == [2, 1, 2]
    again, longer = merged_runs(merged, np.array([2, 1, 2]))
    assert again.tolist() == merged.tolist()
    assert longer.tolist() == [2, 1, 2]


def test_unit_edit_distance_is_that_of_merged_runs_over_the_longer_one() -> None:
    assert unit_edit_distance(np.array([[1, 1, 2, 3]]), np.array([[1, 2, 2, 2, 3, 3]])) == 0.0
    assert unit_edit_distance(np.array([[1, 2, 3, 4]]), np.array([[1, 3, 3]])) == pytest.approx(2 / 4)
    assert unit_edit_distance(np.array([[1, 2], [0, 0]]), np.array([[1, 2], [0, 1]])) == pytest.approx(1 / 2)
