"""Linear probes: they read what is there, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from omnikit.errors import OmnikitError
from omnikit.metrics.probes import Examples, fit_linear, pooled


def gaussians(shift: float, num: int, seed: int, dim: int = 6, classes: int = 2) -> Examples:
    """Normal clouds, class c `shift` away in direction c; twenty groups."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % classes
    features = rng.standard_normal((num, dim))
    features[np.arange(num), labels] += shift
    return Examples(features, labels, np.arange(num) % 20)


def accuracy(train: Examples, test: Examples, classes: int = 2) -> float:
    probe = fit_linear(train, classes, np.random.default_rng(0))
    return float((probe.read(test.features) == test.labels).mean())


def test_far_clouds_are_told_apart() -> None:
    assert accuracy(gaussians(8.0, 400, 0, classes=4), gaussians(8.0, 400, 1, classes=4), 4) == 1.0


def test_overlapping_clouds_reach_the_best_possible() -> None:
    shift = 2**0.5  # the clouds are 2 apart: Φ(1)
    assert accuracy(gaussians(shift, 4000, 0), gaussians(shift, 4000, 1)) == pytest.approx(0.8413, abs=0.02)


def test_noise_is_read_at_chance() -> None:
    assert accuracy(gaussians(0.0, 400, 0), gaussians(0.0, 2000, 1)) == pytest.approx(0.5, abs=0.04)


def test_scale_and_offset_of_features_do_not_matter() -> None:
    train, test = gaussians(2.0, 400, 0), gaussians(2.0, 400, 1)
    scale = np.array([1e-3, 1e3, 1, 1, 5, 7])
    moved = [Examples(part.features * scale + 100.0, part.labels, part.groups) for part in (train, test)]
    probe, other = (fit_linear(part, 2, np.random.default_rng(0)) for part in (train, moved[0]))
    assert (probe.read(test.features) == other.read(moved[1].features)).mean() > 0.99


def test_more_features_than_examples_is_the_same_problem_rotated() -> None:
    """Columns of zeros change nothing, although they force the rotation into the span of the examples."""
    train, test = gaussians(2.0, 40, 0), gaussians(2.0, 200, 1)
    wide = [Examples(np.pad(part.features, ((0, 0), (0, 60))), part.labels, part.groups) for part in (train, test)]
    narrow = fit_linear(train, 2, np.random.default_rng(0), (0.1,))
    rotated = fit_linear(wide[0], 2, np.random.default_rng(0), (0.1,))
    assert np.allclose(rotated.weights[:6], narrow.weights, atol=1e-3)


def test_a_rare_class_weighs_as_much_as_a_frequent_one() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(2000) % 20 == 0).astype(int)
    features = rng.standard_normal((2000, 1)) + 2.0 * labels[:, None]
    said = fit_linear(Examples(features, labels, np.arange(2000) % 20), 2, rng).read(features)
    assert (said[labels == 1] == 1).mean() == pytest.approx(0.84, abs=0.06)


def test_the_penalty_is_chosen_by_what_held_out_groups_say() -> None:
    noisy = gaussians(0.8, 60, 0, dim=50)
    assert fit_linear(noisy, 2, np.random.default_rng(0), (1e-6, 1.0)).penalty == 1.0


def test_pooled() -> None:
    assert pooled(np.array([[0.0, 1.0], [2.0, 1.0]])).tolist() == [1.0, 1.0, 1.0, 0.0]


def test_unusable_examples_are_refused() -> None:
    good, rng = gaussians(1.0, 10, 0), np.random.default_rng(0)
    with pytest.raises(OmnikitError, match="two classes"):
        fit_linear(Examples(good.features, np.ones(10, dtype=int), good.groups), 2, rng)
    with pytest.raises(OmnikitError, match="NaN"):
        fit_linear(Examples(np.full((10, 6), np.nan), good.labels, good.groups), 2, rng)
    with pytest.raises(OmnikitError, match="10 labels"):
        fit_linear(Examples(good.features[:4], good.labels, good.groups), 2, rng)
