"""From a sweep as found to what can be said of it: columns of one signature each, arms with their spread, differences.

A column holds one metric with one signature, so that numbers which cannot be compared never share one. Only the metric
that the sweep declared as its primary one is tested; its family are the arms against the baseline (Holm 1979).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from omnikit.metrics.comparison import (
    Difference,
    Interval,
    Items,
    Trials,
    compare,
    holm,
    interval_over_items,
    smallest_difference,
)
from omnikit.report.ablation_folder import Arm, Cell, Confusion, Score, Sweep


@dataclass(frozen=True)
class Column:
    """A metric with a signature. `mark` tells columns of one metric apart; empty where there is only one."""

    metric: str
    signature: str
    name: str
    unit: str
    higher_is_better: bool | None
    mark: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it a column of its own."""
        return self.metric, self.signature

    @property
    def title(self) -> str:
        """Its metric, with its mark."""
        return f"{self.metric} ({self.mark})" if self.mark else self.metric

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def scale(self) -> float:
        """From the value to the number that is shown: shares are shown in %."""
        return 100.0 if self.unit == "%" else 1.0


@dataclass(frozen=True)
class Entry:
    """An arm's result in a column: its trials, where its mean would lie for other items, and how it differs."""

    trials: Trials
    over_items: Interval | None
    difference: Difference | None = None
    p: float = math.nan
    p_holm: float = math.nan
    best: bool = False

    @property
    def shows(self) -> float:
        """The smallest true difference that the test set could have shown (80 % power); NaN without an interval."""
        found = self.difference.test_set if self.difference else None
        return smallest_difference(found) if found else math.nan

    @property
    def verdict(self) -> str:
        """What the test says: `higher`, `lower`, `not told apart`; empty where nothing was tested."""
        if self.difference is None or math.isnan(self.p_holm):
            return ""
        if self.p_holm > 0.05:
            return "not told apart"
        return "higher" if self.difference.value > 0 else "lower"


@dataclass(frozen=True)
class ArmResult:
    """An arm and its planned cells, one a seed, or one in all where nothing trains.

    `state` says in words how far it came, `reasons` why not further.
    """

    arm: Arm
    cells: tuple[Cell, ...]
    state: str
    reasons: tuple[str, ...]
    cost: Mapping[str, float]

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.arm.name

    @property
    def num_done(self) -> int:
        """Cells that are finished."""
        return sum(cell.done for cell in self.cells)


@dataclass(frozen=True)
class Results:
    """Everything that tables, plots and pages show."""

    sweep: Sweep
    arms: tuple[ArmResult, ...]
    columns: tuple[Column, ...]
    entries: Mapping[tuple[str, tuple[str, str]], Entry]
    """By arm and column key."""
    problems: tuple[str, ...]

    def entry(self, arm: str, column: Column) -> Entry | None:
        """What an arm has in a column."""
        return self.entries.get((arm, column.key))

    @property
    def primary(self) -> list[Column]:
        """The columns of the primary metric."""
        return [column for column in self.columns if column.metric == self.sweep.primary]

    def decimals(self, column: Column) -> int:
        """Places behind the point at which the median uncertainty of a column has two digits."""
        own = [entry for arm in self.arms if (entry := self.entry(arm.name, column))]
        reach = [entry.trials.spread for entry in own]
        reach += [entry.over_items.half for entry in own if entry.over_items]
        reach = [value * column.scale for value in reach if math.isfinite(value) and value > 0]
        if reach:
            return _places(float(np.median(reach)), 2)
        top = max((abs(entry.trials.mean) * column.scale for entry in own), default=0.0)
        return _places(top, 3) if top > 0 else 1

    def confusions(self, arm: str, column: Column) -> Confusion | None:
        """The confusion matrix of an arm, added up over seeds; what only some of them heard has a column, too."""
        cells = next((item.cells for item in self.arms if item.name == arm), ())
        found = [
            score.confusion for cell in cells for score in cell.scores if _key(score) == column.key and score.confusion
        ]
        if not found:
            return None
        asked = tuple(dict.fromkeys(name for item in found for name in item.asked))
        heard = tuple(dict.fromkeys(name for item in found for name in item.heard))
        counts = np.zeros((len(asked), len(heard)))
        for item in found:
            counts[np.ix_([asked.index(name) for name in item.asked], [heard.index(name) for name in item.heard])] += (
                item.counts
            )
        return Confusion(asked, heard, counts)


def evaluate(sweep: Sweep) -> Results:
    """Everything that a sweep tells, with what it does not tell among the problems."""
    problems = list(sweep.problems)
    columns = _columns(sweep)
    entries: dict[tuple[str, tuple[str, str]], Entry] = {}
    for column in columns:
        trials, notes = collect(sweep, column)
        problems += notes
        differences = {
            name: compare(own, trials[sweep.baseline])
            for name, own in trials.items()
            if sweep.baseline in trials and name != sweep.baseline
        }
        tested = [name for name in differences if column.metric == sweep.primary]
        raw = {name: differences[name].p for name in tested}
        adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
        best = _best(trials, column)
        for name, own in trials.items():
            entries[name, column.key] = Entry(
                trials=own,
                over_items=interval_over_items(own),
                difference=differences.get(name),
                p=raw.get(name, math.nan),
                p_holm=adjusted.get(name, math.nan),
                best=name in best,
            )
    if sweep.primary and not any(column.metric == sweep.primary for column in columns):
        problems.append(f"the primary metric '{sweep.primary}' was measured nowhere, so nothing is tested")
    arms = tuple(_arm(sweep, arm) for arm in sweep.arms)
    return Results(sweep, arms, columns, entries, tuple(problems))


def _columns(sweep: Sweep) -> tuple[Column, ...]:
    """One for every metric and signature, the primary metric first, then as the cells bring them."""
    found: dict[tuple[str, str], Score] = {}
    for cell in sweep.cells:
        for score in cell.scores:
            found.setdefault(_key(score), score)
    metrics = list(dict.fromkeys(metric for metric, _ in found))
    metrics.sort(key=lambda metric: metric != sweep.primary)
    columns = []
    for metric in metrics:
        own = [score for (name, _), score in found.items() if name == metric]
        for number, score in enumerate(own):
            mark = _letter(number) if len(own) > 1 else ""
            columns.append(Column(metric, score.signature, score.name, score.unit, score.higher_is_better, mark))
    return tuple(columns)


def collect(sweep: Sweep, column: Column) -> tuple[dict[str, Trials], list[str]]:
    """The trials of every arm that has the column, their items in one order; and notes on what could not be aligned."""
    own = {
        arm.name: [(cell.seed, score) for cell in sweep.cells_of(arm.name) for score in _of(cell, column)]
        for arm in sweep.arms
    }
    found = {name: pairs for name, pairs in own.items() if pairs}
    scores = [score for pairs in found.values() for _, score in pairs]
    with_items = [score for score in scores if score.items is not None]
    order = sorted(with_items[0].items or ()) if with_items else []
    notes = []
    trials = {}
    for name, pairs in found.items():
        seeds, values = tuple(seed for seed, _ in pairs), np.array([score.value for _, score in pairs])
        items = [aligned(score, order) for _, score in pairs]
        if all(item is not None for item in items) and items:
            tops, bottoms, clusters = zip(*(item for item in items if item is not None), strict=True)
            trials[name] = Trials(seeds, values, Items(np.stack(tops), np.stack(bottoms), clusters[0], tuple(order)))
            continue
        if with_items:
            notes.append(f"{column.title}: {name} lacks scores of the same items, so it has no interval over them")
        trials[name] = Trials(seeds, values)
    return trials, notes


def aligned(score: Score, order: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Numerators, denominators and clusters in the order of the item ids; None where they are not those items."""
    if score.items is None or score.errors is None or score.lengths is None or sorted(score.items) != list(order):
        return None
    places = np.argsort(np.array(score.items), kind="stable")
    clusters = score.clusters or score.items
    return score.errors[places], score.lengths[places], np.array(clusters)[places]


def _best(trials: Mapping[str, Trials], column: Column) -> set[str]:
    """The best arm and those that cannot be told from it; nobody where no interval says how sure that is."""
    if column.higher_is_better is None or len(trials) < 2:
        return set()
    sign = 1 if column.higher_is_better else -1
    first = max(trials, key=lambda name: sign * trials[name].mean)
    others = {name: compare(own, trials[first]).widest for name, own in trials.items() if name != first}
    if any(interval is None for interval in others.values()):
        return set()
    return {first} | {name for name, found in others.items() if found and found.low <= 0 <= found.high}


def _arm(sweep: Sweep, arm: Arm) -> ArmResult:
    cells = tuple(sweep.cells_of(arm.name))
    reasons = [f"seed {cell.seed}: {cell.exception}" for cell in cells if cell.exception and not cell.done]
    if arm.pruned:
        state, reasons = "pruned", [arm.pruned]
    elif not cells:
        state = "no cells"
    else:
        states = Counter(cell.state for cell in cells)
        rest = [f"{count} {name}" for name, count in states.items() if name != "done"]
        state = ", ".join([f"{states['done']}/{len(cells)} done", *rest])
    return ArmResult(arm, cells, state, tuple(reasons), _cost(cells))


def _cost(cells: Sequence[Cell]) -> dict[str, float]:
    """Every cost as the mean over finished cells that know it; tokens a second from their sums."""
    done = [cell.cost for cell in cells if cell.done]
    names = list(dict.fromkeys(name for cost in done for name in cost))
    means = {name: float(np.mean([cost[name] for cost in done if name in cost])) for name in names}
    timed = [(cost["tokens"], cost["wall_s"]) for cost in done if cost.get("tokens") and cost.get("wall_s")]
    if timed:
        means["tokens_per_s"] = sum(tokens for tokens, _ in timed) / sum(wall for _, wall in timed)
    return means


def _key(score: Score) -> tuple[str, str]:
    return score.metric, score.signature


def _of(cell: Cell, column: Column) -> list[Score]:
    return [score for score in cell.scores if _key(score) == column.key]


def _places(reach: float, digits: int) -> int:
    return min(6, max(0, digits - 1 - math.floor(math.log10(reach))))


def _letter(number: int) -> str:
    """a … z, then aa, ab …"""
    return ("" if number < 26 else _letter(number // 26 - 1)) + chr(ord("a") + number % 26)
