"""A pairwise cover: few rows in which every value of an axis meets every value of every other one.

Where some rows cannot be had, a row that is refused shows nothing about the other values in it. So every pair stands in
a row that fits, if there is one, and the pairs that no row can hold are named one by one.
Ref: the greedy construction of Cohen et al., "The AETG System", IEEE Trans. Software Engineering 23(7), 1997.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Row = dict[str, str]
"""A value for every axis."""
Pair = frozenset[tuple[str, str]]
"""Two values, each with its axis."""


@dataclass(frozen=True)
class Impossible:
    """A pair that no row which fits can hold, with a row that holds it.

    `others` are impossible pairs that this row could not do without: then no two values alone are to blame.
    """

    pair: Pair
    row: Row
    others: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Cover:
    """Rows that fit and hold every pair that fits anywhere, and the pairs that do not."""

    rows: tuple[Row, ...]
    impossible: tuple[Impossible, ...]


def pairwise_cover(axes: Mapping[str, Sequence[str]], fits: Callable[[Row], bool] = lambda row: True) -> Cover:
    """A cover of two or more axes by name; the same for the same input. `fits` says whether a row can be had.

    There are at least as many rows as the two longest axes have pairs. A pair is given up only after every row that
    holds it was refused, but rows that hold a pair which was given up before are not asked about again. A value that
    stands in no row is named with those that it was refused beside, not with every other one.
    """
    in_order = sorted(axes, key=lambda axis: (len(axes[axis]) > 1, -len(axes[axis])))  # no choice, then long
    uncovered = dict.fromkeys(
        frozenset({(one, value), (other, partner)})
        for one, other in combinations(in_order, 2)
        for value in axes[one]
        for partner in axes[other]
    )
    rows: list[Row] = []
    given_up: list[Pair] = []
    while uncovered:
        pair = next(iter(uncovered))
        row = next(filter(fits, _completions(axes, dict(pair), uncovered, given_up)), None)
        if row is None:
            given_up.append(pair)
            del uncovered[pair]
            continue
        rows.append(row)
        for covered in pairs_of(row):
            uncovered.pop(covered, None)
    found = [_impossible(axes, pair, given_up[:at]) for at, pair in enumerate(given_up)]
    held = {item for row in rows for item in row.items()}
    named = {item for one in found if not one.others for item in one.pair} - held
    return Cover(tuple(rows), tuple(one for one in found if not (one.others and one.pair & named)))


def pairs_of(row: Mapping[str, str]) -> list[Pair]:
    """Every pair of values in a row."""
    return [frozenset(pair) for pair in combinations(row.items(), 2)]


def _completions(
    axes: Mapping[str, Sequence[str]], row: Row, uncovered: Collection[Pair], banned: Collection[Pair]
) -> Iterator[Row]:
    """Every whole row that holds `row` and no banned pair, those that cover more pairs earlier."""
    left = [axis for axis in axes if axis not in row]
    if not left:
        yield {axis: row[axis] for axis in axes}
        return
    axis = max(left, key=lambda name: len(axes[name]))
    pairs = {value: [frozenset({(axis, value), item}) for item in row.items()] for value in axes[axis]}
    met = {value: sum((axis, value) in pair for pair in uncovered) for value in axes[axis]}
    gain = {value: (sum(pair in uncovered for pair in pairs[value]), met[value]) for value in axes[axis]}
    for value in sorted(axes[axis], key=lambda value: gain[value], reverse=True):
        if not any(pair in banned for pair in pairs[value]):
            yield from _completions(axes, {**row, axis: value}, uncovered, banned)


def _impossible(axes: Mapping[str, Sequence[str]], pair: Pair, before: Sequence[Pair]) -> Impossible:
    """A row for an impossible pair, with none that was given up before in it where that can be had."""
    row = next(_completions(axes, dict(pair), (), before), None) or next(_completions(axes, dict(pair), (), ()))
    return Impossible(pair, row, tuple(other for other in before if other in pairs_of(row)))
