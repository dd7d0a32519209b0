"""An ablation report as Markdown, LaTeX (booktabs), CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence

from omnikit.metrics.comparison import Interval
from omnikit.report.ablation_results import Column, Entry, Results
from omnikit.report.ablation_tables import Box, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
    "Σ": r"$\Sigma$",
    "…": r"\ldots{}",
    "\n": " ",
}
_LATEX_CHARACTERS = re.compile("|".join(map(re.escape, _LATEX)))


def markdown_table(table: Table) -> str:
    """A table in Markdown, its title above, its notes below."""
    lines = [f"**{_plain(table.title)}**", "", f"| {' | '.join(map(_plain, table.head))} |"]
    marks = ["---:" if place >= table.numeric_from else "---" for place in range(len(table.head))]
    lines.append(f"| {' | '.join(marks)} |")
    lines += [f"| {' | '.join(_markdown_box(box) for box in row)} |" for row in table.rows]
    if table.notes:
        lines += ["", *(f"- {_plain(note)}" for note in table.notes)]
    return "\n".join(lines)


def markdown(title: str, lead: str, about: Mapping[str, str], tables: Sequence[Table], problems: Sequence[str]) -> str:
    """The whole report in Markdown."""
    told = "\n".join(f"- {key}: {_plain(value)}" for key, value in about.items())
    parts = [f"# {_plain(title)}", _plain(lead), told, *map(markdown_table, tables)]
    if problems:
        parts.append("**Missing or broken**\n\n" + "\n".join(f"- {_plain(problem)}" for problem in problems))
    return "\n\n".join(parts) + "\n"


def latex(tables: Sequence[Table], comment: str) -> str:
    r"""Every table as a `table` of booktabs; they want `\usepackage{booktabs}` and nothing else."""
    head = "".join(f"% {line}\n" for line in [*comment.splitlines(), r"\usepackage{booktabs}"])
    return head + "\n" + "\n".join(map(_latex_table, tables))


def _latex_table(table: Table) -> str:
    kinds = "".join("r" if place >= table.numeric_from else "l" for place in range(len(table.head)))
    rows = [" & ".join(_latex_box(box) for box in row) + r" \\" for row in table.rows]
    notes = "".join(f"\\par\\footnotesize {latex_text(note)}\n" for note in table.notes)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            f"\\caption{{{latex_text(table.title)}}}",
            f"\\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            " & ".join(map(latex_text, table.head)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            notes + r"\end{table}" + "\n",
        ]
    )


def latex_text(text: str) -> str:
    """Text in which nothing is a command of LaTeX."""
    return _LATEX_CHARACTERS.sub(lambda found: _LATEX[found[0]], text)


def _latex_box(box: Box) -> str:
    """The first line of a cell; a leading bracket would be read as an option of the row before it."""
    text = latex_text(box.text)
    text = f"{{{text}}}" if text.startswith("[") else text
    return f"\\textbf{{{text}}}" if box.strong else text


def _markdown_box(box: Box) -> str:
    text = f"**{_plain(box.text)}**" if box.strong else _plain(box.text)
    return f"{text} {_plain(box.small)}".strip()


def _plain(text: str) -> str:
    """Text of others that cannot break out of a cell, with no markup of its own."""
    text = re.sub(r"([\\`*_<>|])", r"\\\1", text)
    return re.sub(r"\s*\n\s*", "; ", text)


def jsonl(results: Results) -> str:
    """One line for every run and metric; a run without scores has one line that says why."""
    lines = []
    overrides = {arm.name: arm.arm.overrides for arm in results.arms}
    for cell in results.sweep.cells:
        about = {
            "sweep": results.sweep.name,
            "run": cell.id,
            "arm": cell.arm,
            "seed": cell.seed,
            "overrides": list(overrides[cell.arm]),
            "state": cell.state,
            "error": cell.exception,
            "cost": dict(cell.cost),
        }
        scores = [
            {
                "metric": score.metric,
                "signature": score.signature,
                "value": score.value,
                "unit": score.unit,
                "higher_is_better": score.higher_is_better,
                "num_items": None if score.items is None else len(score.items),
            }
            for score in cell.scores
        ]
        lines += [json.dumps(about | score, ensure_ascii=False) for score in scores or [{"metric": None}]]
    for arm in results.arms:
        if not arm.cells:
            about = {"sweep": results.sweep.name, "run": None, "arm": arm.name, "state": arm.state}
            lines.append(json.dumps({**about, "error": "; ".join(arm.reasons), "metric": None}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


HEAD = (
    "arm",
    "runs",
    "reasons",
    "metric",
    "signature",
    "unit",
    "higher_is_better",
    "seeds",
    "mean",
    "sd",
    "items_low",
    "items_high",
    "difference",
    "training_low",
    "training_high",
    "test_set_low",
    "test_set_high",
    "both_low",
    "both_high",
    "smallest_shown",
    "p",
    "p_holm",
)


def csv_text(results: Results) -> str:
    """One row for every arm and column, with every digit; arms without numbers have a row that says why."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(HEAD)
    for arm in results.arms:
        about = [arm.name, arm.state, "; ".join(arm.reasons)]
        rows = [_csv_row(entry, column) for column in results.columns if (entry := results.entry(arm.name, column))]
        for row in rows or [[""] * (len(HEAD) - len(about))]:
            writer.writerow([*about, *row])
    return sink.getvalue()


def _csv_row(entry: Entry, column: Column) -> list[object]:
    found = entry.difference
    return [
        column.metric,
        column.signature,
        column.unit,
        {True: "true", False: "false", None: ""}[column.higher_is_better],
        " ".join(map(str, entry.trials.seeds)),
        entry.trials.mean,
        _known(entry.trials.spread),
        *_ends(entry.over_items),
        found.value if found else "",
        *_ends(found.training if found else None),
        *_ends(found.test_set if found else None),
        *_ends(found.both if found else None),
        _known(entry.shows),
        _known(entry.p),
        _known(entry.p_holm),
    ]


def _ends(found: Interval | None) -> tuple[object, object]:
    return (found.low, found.high) if found else ("", "")


def _known(value: float) -> object:
    return "" if math.isnan(value) else value
