"""Two sweeps beside one another: arms of equal name, in columns of equal signature; other signatures are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omnikit.metrics.comparison import Difference, compare
from omnikit.report.ablation_results import Column, Entry, Results
from omnikit.report.ablation_tables import Box, Table, head_of, interval, number, value_text


@dataclass(frozen=True)
class Pair:
    """An arm in one column of both sweeps."""

    arm: str
    column: Column
    here: Entry
    there: Entry
    difference: Difference


@dataclass(frozen=True)
class Against:
    """What two sweeps have in common; `refused` says why other numbers of equal name are not compared."""

    name: str
    pairs: tuple[Pair, ...]
    refused: tuple[str, ...]


def against(results: Results, other: Results) -> Against:
    """Compare the same-named arms of two sweeps wherever metric and signature are equal."""
    refused = [*_signatures(results, other), *_arms(results, other)]
    theirs = {column.key: column for column in other.columns}
    pairs = []
    for column in results.columns:
        if column.key not in theirs:
            continue
        for arm in results.arms:
            here, there = results.entry(arm.name, column), other.entry(arm.name, theirs[column.key])
            if here and there:
                pairs.append(Pair(arm.name, column, here, there, compare(here.trials, there.trials)))
    if not pairs and not refused:
        refused.append("the two sweeps have no metric in common")
    return Against(other.sweep.name, tuple(pairs), tuple(refused))


def _signatures(results: Results, other: Results) -> list[str]:
    """Why metrics of one name are not compared: the parts in which their signatures differ."""
    notes = []
    for metric in dict.fromkeys(column.metric for column in results.columns):
        here = [column.signature for column in results.columns if column.metric == metric]
        there = [column.signature for column in other.columns if column.metric == metric]
        if there and not set(here) & set(there):
            notes.append(f"{metric} is not compared: {difference_of(here[0], there[0])}")
    return notes


def difference_of(here: str, there: str) -> str:
    """The parts of two signatures that are not in both."""
    own, their = here.split("|"), there.split("|")
    only_here = [part for part in own if part not in their]
    only_there = [part for part in their if part not in own]
    return f"here {', '.join(only_here) or 'nothing'}, there {', '.join(only_there) or 'nothing'}"


def _arms(results: Results, other: Results) -> list[str]:
    theirs = {arm.name: arm.arm for arm in other.arms}
    notes = []
    for arm in results.arms:
        if arm.name not in theirs:
            notes.append(f"arm {arm.name} is not in {other.sweep.name}")
        elif arm.arm.overrides != theirs[arm.name].overrides:
            here, there = " ".join(arm.arm.overrides) or "nothing", " ".join(theirs[arm.name].overrides) or "nothing"
            notes.append(f"arm {arm.name} changes something else: here {here}, there {there}; compared all the same")
    own = {arm.name for arm in results.arms}
    return notes + [f"arm {name} is only in {other.sweep.name}" for name in theirs if name not in own]


def against_tables(results: Results, found: Against) -> list[Table]:
    """One table for every column that both sweeps have."""
    tables = []
    for column in dict.fromkeys(pair.column for pair in found.pairs):
        places = results.decimals(column)
        rows = [_row(pair, places) for pair in found.pairs if pair.column == column]
        head = ("arm", "here", found.name, "difference", "other seeds", "other items", "both")
        title = f"{head_of(column)}: less the same arm of {found.name}"
        tables.append(Table(title, head, tuple(rows), (f"{column.title}: {column.signature}",)))
    return tables


def _row(pair: Pair, places: int) -> tuple[Box, ...]:
    column, difference = pair.column, pair.difference
    intervals: Sequence = (difference.training, difference.test_set, difference.both)
    return (
        Box(pair.arm),
        Box(value_text(pair.here, column, places, len(pair.here.trials.seeds))),
        Box(value_text(pair.there, column, places, len(pair.there.trials.seeds))),
        Box(number(difference.value * column.scale, places)),
        *(Box(interval(found, column, places)) for found in intervals),
    )
