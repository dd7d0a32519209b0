"""The tables of an ablation report as plain cells, which HTML, Markdown and LaTeX write each in their own way.

Values are `mean ± sd (n seeds)`; one seed shows no ±. Intervals are 95 %; all numbers of a column have equal places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omnikit.metrics.comparison import Difference, Interval
from omnikit.report.ablation_results import ArmResult, Column, Entry, Results

COLUMNS_EACH, HEAD_LENGTH = 5, 130
"""A table has at most so many columns, and so many letters in their heads."""
NOTHING = "–"
SHARED = "Trainings that a run shares with others count in full, as often as they are used."
SCOPES = {
    "both": "other seeds and items",
    "test_set": "other items, not other seeds",
    "training": "other seeds, not other items",
}


@dataclass(frozen=True)
class Box:
    """A cell: its text, a second line `small`, and whether it stands out."""

    text: str
    small: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Cells under a title; the first column names the rows. `numeric_from` is the first column of numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Box, ...], ...]
    notes: tuple[str, ...] = ()
    numeric_from: int = 1


@dataclass(frozen=True)
class Cost:
    """A cost column: its title, what a shown unit is made of, and how it is shown."""

    title: str
    unit: float = 1.0


COSTS: Mapping[str, Cost] = {
    "parameters": Cost("parameters, M", 1e6),
    "trainable_parameters": Cost("trained parameters, M", 1e6),
    "wall_s": Cost("time, min", 60),
    "cpu_s": Cost("CPU time, min", 60),
    "evaluation_s": Cost("evaluation, min", 60),
    "steps": Cost("steps"),
    "tokens": Cost("tokens, k", 1e3),
    "audio_s": Cost("audio, h", 3600),
    "tokens_per_s": Cost("tokens/s"),
    "peak_memory_bytes": Cost("peak memory, MiB", 2**20),
    "peak_gpu_memory_bytes": Cost("peak GPU memory, MiB", 2**20),
    "flops": Cost("FLOPs, T", 1e12),
    "real_time_factor": Cost("real-time factor"),
    "first_audio_s": Cost("first audio, ms", 1e-3),
    "bit_rate": Cost("bit/s"),
}
"""Costs by their name in `status.json`; others are shown under their own name."""


def number(value: float, places: int) -> str:
    """A number with a true minus sign; never a negative zero."""
    text = f"{value:.{places}f}"
    if float(text) == 0:
        text = f"{0:.{places}f}"
    return text.replace("-", "−")


def interval(found: Interval | None, column: Column, places: int) -> str:
    """An interval in the units of a column."""
    if found is None:
        return NOTHING
    return f"[{number(found.low * column.scale, places)}, {number(found.high * column.scale, places)}]"


def value_text(entry: Entry, column: Column, places: int, wanted: int) -> str:
    """`mean ± sd (n)`; with the number of seeds that were planned where some are missing."""
    trials = entry.trials
    num = len(trials.seeds)
    seeds = f"{num} of {wanted}" if num < wanted else f"{num}"
    text = number(trials.mean * column.scale, places)
    if num == 1:
        return f"{text} ({seeds} seed{'s' if num < wanted else ''})"
    return f"{text} ± {number(trials.spread * column.scale, places)} ({seeds})"


def head_of(column: Column) -> str:
    """The head of a column: metric, mark, unit and which way is better."""
    return " ".join(filter(None, [column.title + (f", {column.unit}" if column.unit else ""), column.arrow]))


def result_tables(results: Results) -> list[Table]:
    """Rows: arms, also those that failed. Columns: metrics, as many as fit a page, each with one signature."""
    tables, start = [], 0
    for columns in _pages(results.columns):
        rows = [
            (
                Box(name_of(results, arm)),
                Box(arm.state),
                *(_result(results, arm, column) for column in columns),
            )
            for arm in results.arms
        ]
        title = "Results" if not start else f"Results, columns {start + 1} to {start + len(columns)}"
        notes = [f"{column.title}: {column.signature}" for column in columns]
        tables.append(Table(title, ("arm", "runs", *map(head_of, columns)), tuple(rows), tuple(notes), 2))
        start += len(columns)
    return tables


def _pages(columns: Sequence[Column]) -> list[list[Column]]:
    """The columns in lots that are not too wide; one empty lot where there are none."""
    pages: list[list[Column]] = [[]]
    for column in columns:
        length = sum(len(head_of(item)) for item in [*pages[-1], column])
        if pages[-1] and (len(pages[-1]) == COLUMNS_EACH or length > HEAD_LENGTH):
            pages.append([])
        pages[-1].append(column)
    return pages


def name_of(results: Results, arm: ArmResult) -> str:
    """The arm's name; the baseline is marked."""
    return f"{arm.name} (baseline)" if arm.name == results.sweep.baseline else arm.name


def _result(results: Results, arm: ArmResult, column: Column) -> Box:
    entry = results.entry(arm.name, column)
    if entry is None:
        return Box("not measured" if arm.num_done else NOTHING)
    places = results.decimals(column)
    small = interval(entry.over_items, column, places) if entry.over_items else ""
    return Box(value_text(entry, column, places, len(arm.cells)), small, entry.best)


def difference_table(results: Results, column: Column) -> Table:
    """How every arm differs from the baseline in one column, and how sure that is."""
    places = results.decimals(column)
    tested = column.metric == results.sweep.primary
    rows = []
    for arm in results.arms:
        if arm.name == results.sweep.baseline:
            continue
        entry = results.entry(arm.name, column)
        if entry is None or entry.difference is None:
            why = "not measured" if arm.num_done else arm.state
            if entry is not None:
                why = "the baseline has no value"
            rows.append((Box(arm.name), Box(why), *[Box(NOTHING)] * (7 if tested else 4)))
            continue
        found = entry.difference
        cells = [
            Box(number(found.value * column.scale, places), _seeds(found)),
            Box(interval(found.training, column, places)),
            Box(interval(found.test_set, column, places)),
            Box(interval(found.both, column, places)),
            Box(NOTHING if math.isnan(entry.shows) else number(entry.shows * column.scale, places)),
        ]
        if tested:
            over = f"over {SCOPES[found.scope]}" if found.scope else "nothing varies"
            cells += [Box(p_text(entry.p), over), Box(p_text(entry.p_holm)), Box(entry.verdict or NOTHING)]
        rows.append((Box(arm.name), *cells))
    head = ["arm", "difference", "other seeds", "other items", "both", "smallest shown"]
    head += ["p", "p (Holm)", "verdict"] if tested else []
    title = f"{head_of(column)}: less the baseline, {results.sweep.baseline}"
    return Table(title, tuple(head), tuple(rows), (f"{column.title}: {column.signature}",))


def _seeds(found: Difference) -> str:
    return f"{len(found.seeds)} equal seed{'s' * (len(found.seeds) > 1)}" if found.seeds else "other seeds"


def p_text(value: float) -> str:
    """A p value with two digits, none below 0.001."""
    if math.isnan(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def cost_table(results: Results) -> Table | None:
    """What a run of every arm costs, as means over finished ones; None where no run tells."""
    names = cost_names(results)
    if not names:
        return None
    rows = []
    for arm in results.arms:
        cells = [Box(cost_text(arm.cost, name) if name in arm.cost else NOTHING) for name in names]
        rows.append((Box(name_of(results, arm)), Box(str(arm.num_done)), *cells))
    head = ("arm", "runs", *(COSTS[name].title if name in COSTS else name for name in names))
    return Table("Cost of one run as if alone, mean over finished runs", head, tuple(rows), (SHARED,))


def cost_names(results: Results) -> list[str]:
    """The costs that any arm knows, known ones first; those that are zero everywhere are left out."""
    found = {name for arm in results.arms for name, value in arm.cost.items() if value}
    return [name for name in COSTS if name in found] + sorted(found - set(COSTS))


def cost_text(cost: Mapping[str, float], name: str) -> str:
    """A cost in its shown unit, with three digits."""
    shown = cost[name] / (COSTS[name].unit if name in COSTS else 1.0)
    return f"{shown:,.0f}".replace(",", " ") if abs(shown) >= 100 else f"{shown:.3g}"


def arm_table(results: Results) -> Table:
    """What every arm changes, how far it came, and why not further."""
    rows = [
        (
            Box(name_of(results, arm)),
            Box(" ".join(arm.arm.overrides) or "nothing"),
            Box(arm.state),
            Box("\n".join(arm.reasons) or NOTHING),
        )
        for arm in results.arms
    ]
    return Table("Arms", ("arm", "changes", "runs", "why not more"), tuple(rows), numeric_from=4)


def signature_table(results: Results) -> Table:
    """What every column is: its signature, its unit, which way is better, and over how many items."""
    rows = [
        (
            Box(column.title),
            Box(column.name),
            Box(column.signature),
            Box({True: "higher", False: "lower", None: "not said"}[column.higher_is_better]),
            Box(_items(results, column)),
        )
        for column in results.columns
    ]
    head = ("column", "what it is", "signature", "better", "items")
    return Table("Signatures: only equal ones share a column", head, tuple(rows), numeric_from=5)


def _items(results: Results, column: Column) -> str:
    for arm in results.arms:
        entry = results.entry(arm.name, column)
        if entry and entry.trials.items:
            items = entry.trials.items
            num, clusters = len(items.clusters), len(set(items.clusters.tolist()))
            return f"{num} in {clusters} clusters" if clusters < num else f"{num}, each its own cluster"
    return "a single number"


def compared(results: Results) -> Sequence[Column]:
    """The columns in which some arm can be compared with the baseline."""
    return [
        column
        for column in results.columns
        if any((entry := results.entry(arm.name, column)) and entry.difference for arm in results.arms)
    ]
