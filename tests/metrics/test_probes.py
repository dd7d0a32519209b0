"""Probes: they read what is there, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from omnikit.errors import OmnikitError
from omnikit.metrics.probes import Examples, balanced, pooled, probe_hits, shuffled_hits


def gaussians(shift: float, num: int, seed: int) -> Examples:
    """Two normal clouds in 6 dimensions, `shift` apart in the first."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 2 == 0
    features = rng.standard_normal((num, 6))
    features[:, 0] += shift * labels
    return Examples(features, labels)


def test_far_clouds_are_told_apart() -> None:
    assert probe_hits(gaussians(8.0, 200, 0), gaussians(8.0, 200, 1)).mean() == 1.0


def test_overlapping_clouds_reach_the_best_possible() -> None:
    hits = probe_hits(gaussians(2.0, 4000, 0), gaussians(2.0, 4000, 1))
    assert hits.mean() == pytest.approx(0.8413, abs=0.02)  # Φ(1), the error of two unit normals 2 apart


def test_noise_is_read_at_chance() -> None:
    assert probe_hits(gaussians(0.0, 400, 0), gaussians(0.0, 2000, 1)).mean() == pytest.approx(0.5, abs=0.04)


def test_scale_and_offset_of_features_do_not_matter() -> None:
    train, test = gaussians(2.0, 400, 0), gaussians(2.0, 400, 1)
    scale, offset = np.array([1e-3, 1e3, 1, 1, 5, 7]), 100.0
    moved = [Examples(part.features * scale + offset, part.labels) for part in (train, test)]
    assert (probe_hits(train, test) == probe_hits(*moved)).mean() > 0.99


def test_shuffled_labels_leave_chance() -> None:
    hits = shuffled_hits(gaussians(8.0, 400, 0), gaussians(8.0, 400, 1), np.random.default_rng(0))
    assert hits.shape == (400,)
    assert hits.mean() == pytest.approx(0.5, abs=0.1)


def test_balanced() -> None:
    labels = [True] * 7 + [False] * 3
    indices = balanced(labels, np.random.default_rng(0))
    assert len(set(indices)) == len(indices) == 6
    assert sum(labels[index] for index in indices) == 3
    assert balanced([True, True], np.random.default_rng(0)) == []


def test_pooled() -> None:
    assert pooled(np.array([[0.0, 1.0], [2.0, 1.0]])).tolist() == [1.0, 1.0, 1.0, 0.0]


def test_unusable_examples_are_refused() -> None:
    good = gaussians(1.0, 10, 0)
    with pytest.raises(OmnikitError, match="both labels"):
        probe_hits(Examples(good.features, np.ones(10, dtype=bool)), good)
    with pytest.raises(OmnikitError, match="NaN"):
        probe_hits(good, Examples(np.full((10, 6), np.nan), good.labels))
    with pytest.raises(OmnikitError, match="test features are"):
        probe_hits(good, Examples(good.features[:, :3], good.labels))
