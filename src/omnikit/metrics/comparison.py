"""How far two systems lie apart, when each was trained with several seeds and scored on the same items.

Two things make such a difference uncertain, and they are kept apart: another seed would have trained other weights, and
other items of the same kind would have been scored otherwise (Bouthillier et al., "Accounting for variance in machine
learning benchmarks", MLSys 2021). Every interval says which of the two it covers:

- `training`: these items, other seeds. Student's t over differences of equal seeds, else Welch's (1947);
- `test_set`: these weights, other items. A bootstrap that draws whole clusters (Efron and Tibshirani, "An introduction
  to the bootstrap", 1993; Cameron, Gelbach and Miller 2008) and gives both systems the same draws;
- `both`: other seeds and other items. The two variances less what they share, as in two-way clustering (Cameron,
  Gelbach and Miller, "Robust inference with multiway clustering", 2011); degrees of freedom by Satterthwaite (1946).

A score is Σ numerators / Σ denominators, never a mean of ratios. Letters: S seeds, N items, G clusters, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import t

from omnikit.metrics.clustered import RESAMPLES

CONFIDENCE = 0.95
POWER = 0.80
_BLOCK = 1 << 20  # numbers drawn at once

Scope = Literal["training", "test_set", "both"]


@dataclass(frozen=True)
class Interval:
    """`low`–`high` around a value with this standard `error` and so many degrees of `freedom`."""

    low: float
    high: float
    error: float
    freedom: float

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Items:
    """What scores are made of: `tops` / `bottoms` [S, N] by seed and item, what every item belongs to [N], its name."""

    tops: np.ndarray
    bottoms: np.ndarray
    clusters: np.ndarray
    names: tuple[str, ...] = ()

    def totals(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Sums by cluster, [G, S], of the rows `seeds`."""
        names, index = np.unique(self.clusters, return_inverse=True)
        rows = list(seeds)
        top, bottom = np.zeros((len(names), len(rows))), np.zeros((len(names), len(rows)))
        np.add.at(top, index, self.tops[rows].T)
        np.add.at(bottom, index, self.bottoms[rows].T)
        return top, bottom

    def same(self, other: Items) -> bool:
        """Whether these are the same items in the same order, in the same clusters."""
        return self.names == other.names and bool(np.array_equal(self.clusters, other.clusters))


@dataclass(frozen=True)
class Trials:
    """One system: its score `values` [S] by `seeds`; `items`, rows in the order of the seeds, where they are known."""

    seeds: tuple[int, ...]
    values: np.ndarray
    items: Items | None = None

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation over seeds (n - 1); NaN for one seed, which says nothing about others."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


@dataclass(frozen=True)
class Difference:
    """`value` of a system less that of its baseline, with an interval for every scope that the data can give.

    `seeds` are those compared one by one; empty where the two were trained with other seeds and only means compare.
    """

    value: float
    seeds: tuple[int, ...]
    training: Interval | None
    test_set: Interval | None
    both: Interval | None

    @property
    def scope(self) -> Scope | None:
        """The widest scope that there is an interval for."""
        known: tuple[tuple[Scope, Interval | None], ...] = (
            ("both", self.both),
            ("test_set", self.test_set),
            ("training", self.training),
        )
        return next((name for name, interval in known if interval is not None), None)

    @property
    def widest(self) -> Interval | None:
        """The interval of `scope`."""
        return getattr(self, self.scope) if self.scope else None

    @property
    def p(self) -> float:
        """Of the two-sided t test that the difference is zero over `scope`; NaN where nothing varies."""
        found = self.widest
        if found is None or found.error == 0:
            return math.nan
        return float(2 * t.sf(abs(self.value) / found.error, found.freedom))


def interval_over_items(trials: Trials, *, confidence: float = CONFIDENCE, seed: int = 0) -> Interval | None:
    """Where the mean over seeds would lie for other items; None without items or with fewer than two clusters.

    It ends at 0 where no numerator is negative, and at 1 where none is larger than its denominator.
    """
    if trials.items is None:
        return None
    top, bottom = trials.items.totals(range(len(trials.seeds)))
    error = _bootstrap_error([(top, bottom)], seed)
    if error is None:
        return None
    found = _interval(trials.mean, error, len(top) - 1, confidence)
    low = max(0.0, found.low) if (trials.items.tops >= 0).all() else found.low
    high = min(1.0, found.high) if (trials.items.tops <= trials.items.bottoms).all() else found.high
    return replace(found, low=low, high=high)


def compare(system: Trials, baseline: Trials, *, confidence: float = CONFIDENCE, seed: int = 0) -> Difference:
    """The score of `system` less that of `baseline`.

    Where at least two seeds are common, or a single seed is all there is, equal seeds are compared and the others left
    out. Items must be the same in the same order; without that there is only the interval over seeds.
    """
    shared = sorted(set(system.seeds) & set(baseline.seeds))
    few = min(len(system.seeds), len(baseline.seeds)) < 2
    paired = len(shared) > 1 or (bool(shared) and few)
    own = [system.seeds.index(s) for s in shared] if paired else list(range(len(system.seeds)))
    base = [baseline.seeds.index(s) for s in shared] if paired else list(range(len(baseline.seeds)))
    value = float(system.values[own].mean() - baseline.values[base].mean())
    training = _over_seeds(value, system.values[own], baseline.values[base], paired, confidence)
    test_set = both = None
    if system.items is not None and baseline.items is not None and system.items.same(baseline.items):
        sums, base_sums = system.items.totals(own), baseline.items.totals(base)
        error = _bootstrap_error([sums, base_sums], seed)
        if error is not None:
            num = len(sums[0])
            test_set = _interval(value, error, num - 1, confidence)
            if training is not None:
                common = _shared_variance(_influence(*sums), _influence(*base_sums), paired)
                both = _joint(value, training, test_set, common, confidence)
    return Difference(value, tuple(shared) if paired else (), training, test_set, both)


def smallest_difference(interval: Interval, *, confidence: float = CONFIDENCE, power: float = POWER) -> float:
    """The true difference that a two-sided t test with this standard error would show with probability `power`.

    Ref: H. S. Bloom, "Minimum detectable effects", Evaluation Review 19(5), 1995.
    """
    tail = (1 - confidence) / 2
    return float(t.ppf(1 - tail, interval.freedom) + t.ppf(power, interval.freedom)) * interval.error


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for being a family; NaN, a comparison that was not made, stays NaN and does not count.

    Ref: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    values = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(values), np.nan)
    order = [place for place in np.argsort(values, kind="stable") if not math.isnan(values[place])]
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted.tolist()


def _interval(value: float, error: float, freedom: float, confidence: float) -> Interval:
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * error
    return Interval(value - reach, value + reach, error, freedom)


def _over_seeds(value: float, own: np.ndarray, base: np.ndarray, paired: bool, confidence: float) -> Interval | None:
    """Student's interval over differences of equal seeds, Welch's over independent ones; None for single seeds."""
    if min(len(own), len(base)) < 2:
        return None
    if paired:
        return _interval(value, float(np.std(own - base, ddof=1)) / math.sqrt(len(own)), len(own) - 1, confidence)
    parts = [(float(np.var(side, ddof=1)) / len(side), len(side) - 1) for side in (own, base)]
    return _interval(value, math.sqrt(sum(part for part, _ in parts)), _satterthwaite(parts), confidence)


def _bootstrap_error(sides: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> float | None:
    """Standard error of the first side's mean ratio less the second's; whole clusters are drawn, the same for both."""
    num = len(sides[0][0])
    if num < 2:
        return None
    means = []
    for draws in _draws(num, seed):
        ratios = []
        for top, bottom in sides:
            below = draws @ bottom  # [R, S]
            ratios.append(np.where(below > 0, draws @ top / np.where(below > 0, below, 1.0), np.nan).mean(1))  # [R]
        means.append(ratios[0] - ratios[1] if len(ratios) > 1 else ratios[0])
    drawn = np.concatenate(means)
    if np.isnan(drawn).mean() > 0.05:
        return None
    return float(np.nanstd(drawn)) * math.sqrt(num / (num - 1))


def _draws(num: int, seed: int) -> Iterator[np.ndarray]:
    """How often every cluster is drawn, blocks of [R, G] of `RESAMPLES` rows together; equal for equal arguments."""
    rng = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, _BLOCK // num))
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        picks = rng.integers(0, num, (size, num)) + num * np.arange(size)[:, None]
        yield np.bincount(picks.ravel(), minlength=size * num).reshape(size, num).astype(float)  # [R, G]


def _influence(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """How much every cluster pulls the ratio of every seed, [G, S]: the linear part of Σ top / Σ bottom."""
    below = bottom.sum(0)
    return (top - top.sum(0) / below * bottom) / below


def _shared_variance(own: np.ndarray, base: np.ndarray, paired: bool) -> float:
    """What both the spread over seeds and that over clusters contain: a seed's own luck with a cluster."""
    sides = [own - base] if paired else [own, base]
    total = 0.0
    for pull in sides:
        num, seeds = pull.shape
        rest = pull - pull.mean(1, keepdims=True)
        total += num / (num - 1) * float((rest**2).sum()) / (seeds * (seeds - 1))
    return total


def _joint(value: float, training: Interval, test_set: Interval, common: float, confidence: float) -> Interval:
    """Both variances, less what they share, never below the larger of the two."""
    seeds, items = training.error**2, test_set.error**2
    variance = max(seeds + items - common, seeds, items)
    parts = [(seeds, training.freedom), (variance - seeds, test_set.freedom)]
    return _interval(value, math.sqrt(variance), _satterthwaite(parts), confidence)


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of variances, each with its own; the fewest of them where nothing varies."""
    total, spread = sum(part for part, _ in parts), sum(part**2 / freedom for part, freedom in parts)
    return total**2 / spread if spread > 0 else min(freedom for _, freedom in parts)
