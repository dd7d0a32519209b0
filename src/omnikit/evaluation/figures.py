"""What judging gives: figures with their intervals and targets, and the table that shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from omnikit.metrics.rates import Rate, ratio, share


@dataclass(frozen=True)
class Target:
    """What a figure should be: at most, or at least, `limit` (in the figure's own unit)."""

    limit: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` reaches the target; NaN never does."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def at_most(limit: float) -> Target:
    """A target from above."""
    return Target(limit)


def at_least(limit: float) -> Target:
    """A target from below."""
    return Target(limit, at_least=True)


@dataclass(frozen=True)
class Items:
    """What a figure was summed over: Σ `errors` / Σ `lengths` is its value (in percent a hundred times that).

    One numerator and one denominator an item, the id of its record, and the voice by which items cluster.
    """

    ids: Sequence[str]
    clusters: Sequence[str]
    errors: Sequence[float]
    lengths: Sequence[float]


@dataclass(frozen=True)
class Names:
    """Whom figures are about: the id of every item's record, and the voice, text or picture by which items cluster."""

    ids: Sequence[str]
    clusters: Sequence[str]

    def items(
        self, errors: Sequence[float], lengths: Sequence[float] | None = None, indices: Sequence[int] | None = None
    ) -> Items:
        """Sums of those at `indices` (None: of all); each is one long where no lengths are given.

        An item that could not be measured (NaN) stays with a length of 0, so that all systems have the same items.
        """
        places = range(len(self.ids)) if indices is None else indices
        long = [1.0] * len(places) if lengths is None else lengths
        known = [not math.isnan(error) for error in errors]
        tops = [float(error) if there else 0.0 for error, there in zip(errors, known, strict=True)]
        bottoms = [float(length) if there else 0.0 for length, there in zip(long, known, strict=True)]
        return Items(pick(self.ids, places), pick(self.clusters, places), tops, bottoms)


@dataclass(frozen=True)
class Confusion:
    """How often what was asked (rows) was taken for what (columns): `counts[row][column]`."""

    asked: Sequence[str]
    heard: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class UseCounts:
    """How often every entry of every codebook occurs: its `sizes`, and for each the counts above 0, largest first."""

    sizes: Sequence[int]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Figure:
    """One measured number of a `part`: `value` with its 95 % interval `low`–`high` (NaN: none), in `unit`, and `how`.

    `group` is empty for the figures of the table; `emotion=sad` and the like name parts of the same items. `items` are
    those that it was summed over; None where it is no mean and no ratio over items. `confusion` and `use` are what it
    was counted from, for those who draw it.
    """

    part: str
    name: str
    value: float
    low: float
    high: float
    num_items: int
    how: str
    unit: str = "%"
    target: Target | None = None
    group: str = ""
    items: Items | None = field(default=None, compare=False, repr=False)
    confusion: Confusion | None = field(default=None, compare=False, repr=False)
    use: UseCounts | None = field(default=None, compare=False, repr=False)

    @property
    def reached(self) -> bool | None:
        """Whether the value reaches its target; None without one."""
        return None if self.target is None else self.target.holds(self.value)

    def as_dict(self) -> dict[str, Any]:
        """The figure as JSON-ready data; NaN becomes null."""
        return {
            "part": self.part,
            "name": self.name,
            "group": self.group,
            "value": _number(self.value),
            "low": _number(self.low),
            "high": _number(self.high),
            "unit": self.unit,
            "num_items": self.num_items,
            "target": None if self.target is None else str(self.target),
            "reached": self.reached,
            "how": self.how,
        }


def percent(
    part: str,
    name: str,
    rate: Rate,
    how: str,
    target: Target | None = None,
    group: str = "",
    items: Items | None = None,
) -> Figure:
    """A rate as a figure in percent."""
    value, low, high = (100 * number for number in (rate.value, rate.low, rate.high))
    return Figure(part, name, value, low, high, rate.num_items, how, "%", target, group, items)


def summed(part: str, name: str, items: Items, how: str, target: Target | None = None) -> Figure:
    """Σ errors / Σ lengths of items in percent, with a bootstrap interval over them."""
    return percent(part, name, ratio(items.errors, items.lengths), how, target, items=items)


def mean(
    part: str,
    name: str,
    values: Sequence[float],
    how: str,
    unit: str,
    target: Target | None = None,
    items: Items | None = None,
) -> Figure:
    """The mean of one value an utterance, with a bootstrap interval."""
    rate = ratio(values, [1.0] * len(values))
    return Figure(part, name, rate.value, rate.low, rate.high, rate.num_items, how, unit, target, items=items)


def unmeasured(part: str, name: str, why: str, target: Target | None = None) -> Figure:
    """A figure that this system cannot have; the table says why."""
    nan = math.nan
    return Figure(part, name, nan, nan, nan, 0, why, "%", target)


def quotient(part: str, name: str, items: Items, how: str, unit: str = "") -> Figure:
    """Σ errors / Σ lengths of items as a plain number, with a bootstrap interval over them."""
    rate = ratio(items.errors, items.lengths)
    return Figure(part, name, rate.value, rate.low, rate.high, rate.num_items, how, unit, items=items)


def with_groups(
    figure_of: Callable[[Sequence[int]], Figure], labels: Sequence[Mapping[str, str]], factors: Iterable[str]
) -> list[Figure]:
    """The figure over all items, then over the items of every value of `factors`; those have no target.

    `figure_of` takes item indices; `labels` holds one mapping an item.
    """
    figures = [figure_of(range(len(labels)))]
    for factor in factors:
        for value in sorted({own[factor] for own in labels if factor in own}):
            members = [index for index, own in enumerate(labels) if own.get(factor) == value]
            figures.append(replace(figure_of(members), target=None, group=f"{factor}={value}"))
    return figures


@dataclass(frozen=True)
class Check:
    """A yes-or-no question to every item: the attribute that answers it, and what its share is called and should be."""

    attribute: str
    name: str
    how: str
    target: Target | None = None


def shares(
    part: str,
    items: Sequence[Any],
    labels: Sequence[Mapping[str, str]],
    checks: Iterable[Check],
    factors: Iterable[str],
    names: Names,
) -> list[Figure]:
    """The share of `items` that pass each check, over all of them and by the values of `factors`."""
    factors = tuple(factors)
    figures = []
    for check in checks:
        hits = [bool(getattr(item, check.attribute)) for item in items]

        def figure(indices: Sequence[int], check: Check = check, hits: Sequence[bool] = hits) -> Figure:
            own = pick(hits, indices)
            counted = names.items(own, indices=indices)
            return percent(part, check.name, share(own), check.how, check.target, items=counted)

        figures += with_groups(figure, labels, factors)
    return figures


def pick(values: Sequence[Any] | np.ndarray, indices: Sequence[int]) -> list[Any]:
    """The values at `indices`."""
    return [values[index] for index in indices]


def markdown(figures: Sequence[Figure]) -> str:
    """The table of all figures without a group, as Markdown."""
    rows = [
        "| part | figure | measured [95 % interval] | n | target | reached | how |",
        "|---|---|---|---|---|---|---|",
    ]
    part = ""
    for figure in figures:
        if figure.group:
            continue
        shown = "" if figure.part == part else figure.part
        part = figure.part
        mark = {None: "", True: "yes", False: "**no**"}[figure.reached]
        target = "" if figure.target is None else f"{figure.target}{_unit(figure.unit)}"
        rows.append(
            f"| {shown} | {figure.name} | {measured(figure)} | {figure.num_items} | {target} | {mark} | {figure.how} |"
        )
    return "\n".join(rows)


def measured(figure: Figure) -> str:
    """The value with its unit and interval, as tables show it."""
    if math.isnan(figure.value):
        return "not measurable"
    interval = "" if math.isnan(figure.low) else f" [{_digits(figure.low)}, {_digits(figure.high)}]"
    return f"{_digits(figure.value)}{_unit(figure.unit)}{interval}"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
