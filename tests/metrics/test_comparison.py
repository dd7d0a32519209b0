"""Differences on synthetic scores of known effects: what the intervals cover, and how often there is a false alarm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import t

from omnikit.metrics.comparison import (
    Items,
    Trials,
    compare,
    holm,
    interval_over_items,
    smallest_difference,
)

SIMULATIONS, FAMILIES = 1000, 500
NUM_CLUSTERS, PER_CLUSTER = 16, 6
SEED_SD, CLUSTER_SD, SHARED_SD, LUCK_SD = 0.008, 0.015, 0.04, 0.01
BASE_RATE = 0.2


@dataclass
class World:
    """Systems that misread words at known rates; seeds, speakers, and a seed's luck with a speaker all shift them."""

    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.lengths = self.rng.integers(5, 40, NUM_CLUSTERS * PER_CLUSTER).astype(float)
        self.speakers = np.repeat(np.arange(NUM_CLUSTERS), PER_CLUSTER)
        self.hard = self.rng.normal(0, SHARED_SD, NUM_CLUSTERS)

    def system(self, effect: float, num_seeds: int = 4, luck: bool = True) -> tuple[Trials, float, float]:
        """A system, its rate over all utterances with these seeds, and its rate on these speakers over all seeds."""
        own = self.rng.normal(0, CLUSTER_SD, NUM_CLUSTERS)
        seeds = self.rng.normal(0, SEED_SD, num_seeds)
        chance = self.rng.normal(0, LUCK_SD if luck else 0.0, (num_seeds, NUM_CLUSTERS))
        by_speaker = BASE_RATE + effect + seeds[:, None] + (self.hard + own)[None] + chance  # [S, G]
        rate = np.clip(by_speaker, 0.0, None)[:, self.speakers]
        tops = self.rng.poisson(rate * self.lengths).astype(float)  # [S, N]
        items = Items(tops, np.broadcast_to(self.lengths, tops.shape), self.speakers)
        trials = Trials(tuple(range(num_seeds)), tops.sum(1) / self.lengths.sum(), items)
        on_these = float(((self.hard + own)[self.speakers] * self.lengths).sum() / self.lengths.sum())
        return trials, BASE_RATE + effect + float(seeds.mean()), BASE_RATE + effect + on_these


@pytest.fixture(scope="module")
def coverage() -> dict[str, float]:
    """How often every kind of interval holds what it promises to hold, over the simulations."""
    effect, held = 0.02, dict.fromkeys(("training", "test_set", "both"), 0)
    for number in range(SIMULATIONS):
        world = World(np.random.default_rng(number))
        baseline, base_weights, base_items = world.system(0.0)
        system, weights, items = world.system(effect)
        found = compare(system, baseline)
        truths = {"training": items - base_items, "test_set": weights - base_weights, "both": effect}
        for scope, truth in truths.items():
            interval = getattr(found, scope)
            held[scope] += interval.low <= truth <= interval.high
    return {scope: count / SIMULATIONS for scope, count in held.items()}


@pytest.mark.parametrize("scope", ["training", "test_set", "both"])
def test_every_interval_covers_what_it_is_about_95_times_in_100(coverage: dict[str, float], scope: str) -> None:
    assert 0.93 <= coverage[scope] <= 0.97


def test_where_nothing_differs_a_family_of_arms_shows_something_at_most_5_times_in_100() -> None:
    alarms = {"adjusted": 0, "alone": 0}
    for number in range(FAMILIES):
        world = World(np.random.default_rng(10_000 + number))
        baseline, arms = world.system(0.0)[0], [world.system(0.0)[0] for _ in range(2)]
        alone = [compare(arm, baseline).p for arm in arms]
        alarms["adjusted"] += min(holm(alone)) <= 0.05
        alarms["alone"] += min(alone) <= 0.05
    assert alarms["adjusted"] / FAMILIES <= 0.05
    assert alarms["alone"] > alarms["adjusted"]


def test_a_difference_of_the_smallest_size_is_shown_4_times_in_5() -> None:
    """One system against the same one shifted: its spread over items is known, so the size is too."""
    rng, num, sd = np.random.default_rng(3), 50, 0.1
    exact = interval_over_items(_one(rng.normal(0, sd, num)))
    assert exact is not None
    size = smallest_difference(type(exact)(0, 0, sd / math.sqrt(num), num - 1))
    shown = sum(compare(_one(rng.normal(size, sd, num)), _one(np.zeros(num))).p <= 0.05 for _ in range(300))
    assert 0.74 <= shown / 300 <= 0.86


def _one(scores: np.ndarray) -> Trials:
    items = Items(scores[None], np.ones((1, len(scores))), np.arange(len(scores)))
    return Trials((0,), np.array([scores.mean()]), items)


def test_scores_are_ratios_of_sums() -> None:
    items = Items(np.array([[1.0, 0, 0, 0]]), np.array([[1.0, 9, 5, 5]]), np.arange(4))
    found = compare(Trials((0,), np.array([1 / 20]), items), Trials((0,), np.array([0.0]), items))
    assert found.value == pytest.approx(0.05)  # the mean of ratios would be 0.25
    assert found.test_set is not None and found.test_set.error == 0


def test_the_interval_over_items_agrees_with_the_formula_for_a_mean() -> None:
    scores = np.random.default_rng(0).normal(0, 1, 80)
    found = interval_over_items(_one(scores))
    assert found is not None
    assert found.error == pytest.approx(scores.std(ddof=1) / math.sqrt(80), rel=0.08)
    assert found.half == pytest.approx(float(t.ppf(0.975, 79)) * found.error)


def test_equal_seeds_are_compared_with_one_another() -> None:
    shared = np.array([0.1, 0.4, 0.9])  # a seed's luck that both have
    found = compare(Trials((1, 2, 3), shared + np.array([0.1, 0.11, 0.12])), Trials((1, 2, 3), shared))
    assert found.training is not None and found.scope == "training"
    assert found.training.error == pytest.approx(0.01 / math.sqrt(3))
    assert found.training.freedom == 2


def test_seeds_that_are_missing_on_one_side_are_left_out() -> None:
    found = compare(Trials((1, 2), np.array([0.3, 0.5])), Trials((1, 2, 3), np.array([0.2, 0.2, 99.0])))
    assert (found.seeds, found.value) == ((1, 2), pytest.approx(0.2))


def test_other_seeds_compare_by_welch() -> None:
    own, base = np.array([1.0, 2, 3]), np.array([5.0, 9])
    found = compare(Trials((1, 2, 3), own), Trials((7, 8), base))
    first, second = own.var(ddof=1) / 3, base.var(ddof=1) / 2
    assert found.seeds == () and found.training is not None
    assert found.training.error == pytest.approx(math.sqrt(first + second))
    assert found.training.freedom == pytest.approx((first + second) ** 2 / (first**2 / 2 + second**2))


def test_one_seed_and_one_number_give_no_interval_and_no_p() -> None:
    found = compare(Trials((0,), np.array([1.0])), Trials((0,), np.array([2.0])))
    assert (found.value, found.training, found.test_set, found.both, found.scope) == (-1.0, None, None, None, None)
    assert math.isnan(found.p)
    assert math.isnan(Trials((0,), np.array([1.0])).spread)


def test_an_interval_of_a_share_stays_between_0_and_1() -> None:
    hits = np.r_[np.ones(19), 0.0]
    found = interval_over_items(_one(hits))
    assert found is not None
    assert (found.high, interval_over_items(_one(1 - hits)).low) == (1.0, 0.0)  # type: ignore[union-attr]


def test_one_speaker_says_nothing_about_others() -> None:
    items = Items(np.ones((1, 5)), np.ones((1, 5)), np.zeros(5))
    assert interval_over_items(Trials((0,), np.ones(1), items)) is None


def test_equal_scores_have_no_p() -> None:
    world = World(np.random.default_rng(0))
    system = world.system(0.0)[0]
    found = compare(system, system)
    assert found.value == 0 and math.isnan(found.p)


def test_more_items_than_fit_one_block_give_the_same_error() -> None:
    scores = np.random.default_rng(1).normal(0, 1, 3000)
    found = interval_over_items(_one(scores))
    assert found is not None
    assert found.error == pytest.approx(scores.std(ddof=1) / math.sqrt(3000), rel=0.08)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = holm([0.02, math.nan, 0.9])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.9)
    assert holm([]) == []
