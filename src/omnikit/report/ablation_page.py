"""The report of a sweep as one HTML page that needs nothing beside it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from omnikit.report.ablation_against import Against, against_tables
from omnikit.report.ablation_costs import is_told, study_cost_table, whole_study
from omnikit.report.ablation_folder import Confusion
from omnikit.report.ablation_listening import Prompt, listening_html
from omnikit.report.ablation_maps import confusion_plot, use_plot
from omnikit.report.ablation_plots import curve_plots, dot_plot, front_plot, knob_plot
from omnikit.report.ablation_results import Column, Results
from omnikit.report.ablation_tables import (
    SCOPES,
    Box,
    Table,
    arm_table,
    compared,
    cost_table,
    difference_table,
    number,
    result_tables,
    signature_table,
)
from omnikit.report.parts import escape, figure
from omnikit.report.sections import meta

_HERE = Path(__file__).parent
OPEN_CURVES = 4
"""So many learning curves are shown at once, the others on demand."""


@dataclass(frozen=True)
class _Section:
    id: str
    title: str
    content: str


def render_ablation(results: Results, listed: Sequence[Prompt], against: Against | None) -> str:
    """The whole report as HTML text; style, script, plots and sound are inside."""
    sweep = results.sweep
    sections = [section for section in _sections(results, listed, against) if section.content]
    style, script = ((_HERE / f"{name}").read_text(encoding="utf-8") for name in ("page.css", "ablation.js"))
    return Template((_HERE / "ablation.html").read_text(encoding="utf-8")).substitute(
        title=escape(sweep.name),
        style=style + (_HERE / "ablation.css").read_text(encoding="utf-8"),
        script=script,
        question=escape(sweep.question or sweep.name),
        lead=escape(answer(results)),
        meta=meta(about(results)),
        notice=_notice(results),
        contents="".join(f'<a href="#{section.id}">{escape(section.title)}</a>' for section in sections),
        sections="\n".join(
            f'<section id="{section.id}"><h2>{escape(section.title)}</h2>\n{section.content}\n</section>'
            for section in sections
        ),
    )


def answer(results: Results) -> str:
    """What the declared test says, in a sentence or two."""
    sweep, columns = results.sweep, results.primary
    if not columns:
        return "No primary metric was declared and measured, so nothing is tested; intervals stand in the tables."
    column = next((column for column in columns if results.entry(sweep.baseline, column)), columns[0])
    found = [(arm.name, entry) for arm in results.arms if (entry := results.entry(arm.name, column))]
    tested = [(name, entry) for name, entry in found if entry.verdict]
    if not tested:
        return f"{column.title}: no arm could be tested against {sweep.baseline}; the tables say what there is."
    said = []
    for verdict in ("higher", "lower", "not told apart"):
        names = [name for name, entry in tested if entry.verdict == verdict]
        if names:
            said.append(f"{verdict}: {', '.join(names)}")
    better = {True: " (higher is better)", False: " (lower is better)", None: ""}[column.higher_is_better]
    text = f"{column.title}{better}, against {sweep.baseline}: {'; '.join(said)}."
    scopes = {entry.difference.scope for _, entry in tested if entry.difference} - {"both", None}
    text += "".join(f" The test is over {SCOPES[scope]}." for scope in sorted(filter(None, scopes)))
    shown = sorted(entry.shows * column.scale for _, entry in tested if not math.isnan(entry.shows))
    if shown:
        unit = {"%": " points", "": ""}.get(column.unit, f" {column.unit}")
        sizes = list(dict.fromkeys(number(size, results.decimals(column)) for size in (shown[0], shown[-1])))
        text += f" With 80 % power this test set shows differences of {' to '.join(sizes)}{unit} or more."
    return text


def about(results: Results) -> dict[str, str]:
    """The particulars of a sweep."""
    sweep = results.sweep
    states = Counter(cell.state for cell in sweep.cells)
    started = sorted(cell.started for cell in sweep.cells if cell.started)
    ended = sorted(cell.ended for cell in sweep.cells if cell.ended)
    hosts = sorted({cell.host for cell in sweep.cells if cell.host})
    seconds = whole_study(results).seconds if is_told(results) else None
    told = {
        "sweep": f"{sweep.name}{f' ({sweep.kind})' if sweep.kind else ''}",
        "runs": f"{states['done']}/{len(sweep.cells)} done"
        + "".join(f", {count} {state}" for state, count in states.items() if state != "done"),
        "baseline": sweep.baseline,
        "primary metric": sweep.primary or "none declared",
        "seeds": ", ".join(map(str, sweep.seeds)) or "not said",
        "began": _minute(started[0]) if started else "–",
        "ended": _minute(ended[-1]) if ended else "–",
        "machines": ", ".join(hosts) or "not said",
    }
    if seconds is not None:
        told["time of all processes"] = f"{seconds / 60:.1f} min, trainings that runs share once"
    return told


def _minute(stamp: str) -> str:
    return stamp[:16].replace("T", " ")


def all_tables(results: Results) -> list[Table]:
    """Every table, in reading order."""
    costs = (cost_table(results), study_cost_table(results))
    return [
        *result_tables(results),
        *(difference_table(results, column) for column in compared(results)),
        *filter(None, costs),
        arm_table(results),
        signature_table(results),
    ]


def html_table(table: Table) -> str:
    """A table whose first cells name their rows, with its notes below."""
    head = "".join(
        f'<th scope="col"{_kind(table, place)}>{_breakable(text)}</th>' for place, text in enumerate(table.head)
    )
    rows = "".join(
        "<tr>" + "".join(_cell(table, place, box) for place, box in enumerate(row)) + "</tr>" for row in table.rows
    )
    notes = f'<p class="notes">{"<br>".join(map(escape, table.notes))}</p>' if table.notes else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>'
        f"<caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )


def _breakable(text: str) -> str:
    """Long ids may go on in the next line behind a dot or an underscore."""
    return re.sub(r"([._])", r"\1<wbr>", escape(text))


def _kind(table: Table, place: int) -> str:
    return ' class="number"' if place >= table.numeric_from else ""


def _cell(table: Table, place: int, box: Box) -> str:
    text = f"<b>{escape(box.text)}</b>" if box.strong else escape(box.text)
    if box.small:
        text += f' <span class="second">{escape(box.small)}</span>'
    if place == 0:
        return f'<th scope="row">{text}</th>'
    return f"<td{_kind(table, place) or ' class=why'}>{text}</td>"


def _notice(results: Results) -> str:
    if not results.problems:
        return ""
    num = len(results.problems)
    return (
        f'<div class="notice"><p>{num} thing{"s are" if num > 1 else " is"} missing or broken; '
        '<a href="#missing">they are listed</a>, and everything else is shown.</p></div>'
    )


def _sections(results: Results, listed: Sequence[Prompt], against: Against | None) -> list[_Section]:
    primary = results.primary
    rest = [column for column in results.columns if column not in primary]
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in results.problems)
    curves = curve_plots(results)
    return [
        _Section("answer", "The primary metric", "".join(_column(results, column) for column in primary)),
        _Section(
            "results",
            "All results",
            "<p>mean ± standard deviation over seeds (number of seeds); below it, where the mean would lie for other "
            "items. Bold: the best arm, and those that its interval cannot tell from it.</p>"
            + "".join(map(html_table, result_tables(results))),
        ),
        _Section("metrics", "The other metrics", _others(results, rest)),
        _Section("cost", "Cost", _cost(results)),
        _Section("curves", "Learning curves", _curves(curves)),
        _Section("units", "Use of the codebook", _unit_use(results)),
        _Section("confusions", "What was taken for what", _confusions(results)),
        _Section("listen", "Listen", _listening(listed, results)),
        _Section("against", f"Against {against.name}" if against else "", _against(results, against)),
        _Section("arms", "Arms", html_table(arm_table(results)) + _logs(results)),
        _Section("signatures", "Signatures", html_table(signature_table(results)) if results.columns else ""),
        _Section("missing", "Missing or broken", f"<ul>{problems}</ul>" if problems else ""),
    ]


def _column(results: Results, column: Column) -> str:
    """Plot and differences of one column."""
    place = results.columns.index(column)
    caption = (
        "Thick: mean ± standard deviation over seeds; small dots: seeds. Thin line beside: 95 % over other items, "
        "with these weights. Dashed: the baseline."
    )
    curve = knob_plot(results, column, place) if results.sweep.kind == "curve" else None
    drawn = figure(curve or dot_plot(results, column, place), caption)
    return drawn + (html_table(difference_table(results, column)) if column in compared(results) else "")


def _others(results: Results, columns: Sequence[Column]) -> str:
    if not columns:
        return ""
    parts = [
        f"<details><summary>{escape(column.title)} <span class=dim>{escape(column.name)}</span></summary>"
        f"{_column(results, column)}</details>"
        for column in columns
    ]
    return (
        "<p>Intervals only: no test was declared for these, and of many metrics one always looks like an effect.</p>"
        + "".join(parts)
    )


def _cost(results: Results) -> str:
    table = cost_table(results)
    front = front_plot(results, results.primary[0]) if results.primary else None
    caption = "Dashed: the arms that no other beats in both. Bars: ± standard deviation over seeds."
    tables = (table, study_cost_table(results))
    return (figure(front, caption) if front else "") + "".join(html_table(found) for found in tables if found)


def _curves(curves: Sequence[tuple[str, str]]) -> str:
    if not curves:
        return ""
    drawn = [
        f'<figure><figcaption>{escape(title)}</figcaption><div class="scroll" tabindex="0">{plot}</div></figure>'
        for title, plot in curves
    ]
    more = "".join(drawn[OPEN_CURVES:])
    return (
        '<p class="legend-note">Lines: means over seeds, as far as all came; bands: from least to most.</p>'
        f'<div class="plots">{"".join(drawn[:OPEN_CURVES])}</div>'
        + (
            f'<details><summary>{len(drawn) - OPEN_CURVES} more</summary><div class="plots">{more}</div></details>'
            if more
            else ""
        )
    )


def _unit_use(results: Results) -> str:
    caption = (
        "A line a seed: how many of all units the most used entry is, the next one, and so on; it ends (dot) with the "
        "last entry that occurs. A flat line that ends late is an even use, a steep one that ends early is a collapse."
    )
    plots = (use_plot(results, column, place) for place, column in enumerate(results.columns))
    return "".join(figure(plot, caption) for plot in plots if plot is not None)


def _confusions(results: Results) -> str:
    parts = []
    for group, column in enumerate(results.columns):
        found = [(arm.name, matrix) for arm in results.arms if (matrix := results.confusions(arm.name, column))]
        drawn = "".join(
            _heat_map(f"{column.title}: {name}", matrix, f"map{group}-{place}")
            for place, (name, matrix) in enumerate(found)
        )
        parts.append(f'<div class="plots">{drawn}</div>' if drawn else "")
    if not any(parts):
        return ""
    return "<p>Rows: what was asked; columns: what it was taken for, % of the row, all seeds together.</p>" + "".join(
        parts
    )


def _heat_map(title: str, matrix: Confusion, name: str) -> str:
    plot = confusion_plot(title, matrix, name)
    return (
        f'<figure><figcaption>{_breakable(title)}</figcaption><div class="scroll" tabindex="0">{plot}</div>'
        f'<details><summary>as a table</summary><div class="matrices">{_matrix(title, matrix)}</div></details></figure>'
    )


def _matrix(title: str, matrix: Confusion) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("", *matrix.heard, "n"))
    rows = []
    for name, counts in zip(matrix.asked, matrix.counts, strict=True):
        total = counts.sum()
        shares = 100 * counts / total if total else counts
        cells = "".join(
            f'<td style="background:color-mix(in srgb, var(--accent) {0.6 * share:.0f}%, transparent)">{share:.0f}</td>'
            for share in shares
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}<td>{total:.0f}</td></tr>')
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{escape(title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _listening(listed: Sequence[Prompt], results: Results) -> str:
    if not listed:
        return ""
    heard = {item.arm for prompt in listed for item in prompt.spoken}
    return (
        "<p>The same prompt from every arm, equally loud (−23 LUFS, or below it where one would clip). Inside a card, "
        "keys 1 to 9 switch the arm while it plays, P plays and pauses.</p>"
        + listening_html(listed, [arm.name for arm in results.arms if arm.name in heard])
    )


def _against(results: Results, against: Against | None) -> str:
    if against is None:
        return ""
    refused = "".join(f"<li>{escape(note)}</li>" for note in against.refused)
    return "".join(map(html_table, against_tables(results, against))) + (f"<ul>{refused}</ul>" if refused else "")


def _logs(results: Results) -> str:
    """The last words of runs that did not finish."""
    parts = [
        f"<details><summary>{escape(cell.arm)}, seed {cell.seed}: {escape(cell.state)}"
        f"{f' at step {cell.step}' if cell.step is not None else ''}</summary>"
        f'<pre tabindex="0">{escape(chr(10).join(cell.log_tail))}</pre></details>'
        for cell in results.sweep.cells
        if not cell.done and cell.log_tail
    ]
    return f"<h3>Last words of unfinished runs</h3>{''.join(parts)}" if parts else ""
