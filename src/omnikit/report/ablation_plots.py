"""The plots of an ablation report as inline SVG: dots with intervals, learning curves with seed bands, quality × cost.

matplotlib draws with colours that stand for the page's style-sheet variables, so that plots follow light and dark mode;
text stays text. Letters: S seeds, P points.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnikit.report.ablation_results import Column, Results
from omnikit.report.ablation_tables import COSTS, cost_names

INK, DIM, RULE, ITEMS = "#010203", "#010204", "#010205", "#010206"
SERIES = tuple(f"#0102{16 + number:02x}" for number in range(8))
"""One colour an arm, `--series-1` … `--series-8` of the style sheet; more arms begin anew with another dash."""
_VARIABLES = {INK: "--ink", DIM: "--dim", RULE: "--rule", ITEMS: "--accent"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)
}
_MARKS, DASHES = "osD^vPX*", ("-", "--", ":", "-.")
MAX_POINTS = 240
_NO_PRICE = ("steps", "tokens_per_s", "evaluation_s")
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": DIM,
    "axes.edgecolor": DIM,
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "xtick.color": DIM,
    "ytick.color": DIM,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


def dot_plot(results: Results, column: Column, number: int) -> str:
    """An arm a line: every seed a small dot, their mean, ± sd in ink, and the interval over items below it."""
    rows = [(arm.name, entry) for arm in results.arms if (entry := results.entry(arm.name, column))]
    missing = [arm.name for arm in results.arms if results.entry(arm.name, column) is None]

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for place, (_, entry) in enumerate(rows):
            trials, scale = entry.trials, column.scale
            mean = trials.mean * scale
            if not math.isnan(trials.spread):
                axis.plot([mean - trials.spread * scale, mean + trials.spread * scale], [place] * 2, color=INK, lw=3)
            if entry.over_items:
                ends = [entry.over_items.low * scale, entry.over_items.high * scale]
                axis.plot(ends, [place + 0.22] * 2, color=ITEMS, lw=1.4, marker="|", markersize=6)
            axis.plot(trials.values * scale, [place - 0.22] * len(trials.values), "o", color=DIM, markersize=3.2)
            axis.plot([mean], [place], "o", color=INK, markersize=7)
        _mark_baseline(axis.axvline, results, column)
        axis.set_yticks(range(len(rows)), [name for name, _ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(False, axis="y")
        axis.tick_params(axis="y", labelcolor=INK, length=0)
        better = {True: ", higher is better", False: ", lower is better", None: ""}[column.higher_is_better]
        axis.set_xlabel(f"{column.title}{f', {column.unit}' if column.unit else ''}{better}")

    about = f"{column.title} of {len(rows)} arms with their spread over seeds and their interval over items."
    if missing:
        about += f" Without it: {', '.join(missing)}."
    return svg(draw, (7.6, 0.9 + 0.5 * len(rows)), about, f"dots{number}")


def _mark_baseline(line: Any, results: Results, column: Column) -> None:
    base = results.entry(results.sweep.baseline, column)
    if base:
        line(base.trials.mean * column.scale, color=DIM, lw=1, ls="--")


def _upright(column: Column) -> str:
    """The label of a vertical axis; long ids go on in the next line."""
    text = column.title + (f", {column.unit}" if column.unit else "")
    return re.sub(r"(.{16,28}?[._])(?=.{6})", r"\1\n", text)


def knob_plot(results: Results, column: Column, number: int) -> str | None:
    """A study along one axis: the score over the values of the key that arms change; None where there is none."""
    rows = [(arm.arm.overrides, entry) for arm in results.arms if (entry := results.entry(arm.name, column))]
    pairs = [overrides[-1].partition("=") for overrides, _ in rows if overrides]
    if not rows or len(pairs) < len(rows) or len({key for key, _, _ in pairs}) != 1:
        return None
    names = [name for _, _, name in pairs]
    try:
        places = [float(name) for name in names]
    except ValueError:
        places = [float(place) for place in range(len(names))]
    order = np.argsort(places, kind="stable")
    width = (max(places) - min(places)) or 1.0

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        scale = column.scale
        axis.plot(np.array(places)[order], [rows[k][1].trials.mean * scale for k in order], color=DIM, lw=1.2)
        for place, (_, entry) in zip(places, rows, strict=True):
            trials = entry.trials
            mean, spread = trials.mean * scale, trials.spread * scale
            if not math.isnan(spread):
                axis.plot([place] * 2, [mean - spread, mean + spread], color=INK, lw=3)
            if entry.over_items:
                ends = [entry.over_items.low * scale, entry.over_items.high * scale]
                axis.plot([place + 0.015 * width] * 2, ends, color=ITEMS, lw=1.4, marker="_", markersize=6)
            axis.plot([place - 0.015 * width] * len(trials.values), trials.values * scale, "o", color=DIM, ms=3.2)
            axis.plot([place], [mean], "o", color=INK, markersize=7)
        axis.set_xticks(places, names)
        axis.set_xlabel(pairs[0][0])
        axis.set_ylabel(_upright(column))
        _mark_baseline(axis.axhline, results, column)

    about = f"{column.title} over {pairs[0][0]}: {', '.join(names)}, with spread over seeds and interval over items."
    return svg(draw, (7.6, 3.6), about, f"knob{number}")


def curve_plots(results: Results) -> list[tuple[str, str]]:
    """(title, plot) for every stage and name of the curves: the mean over seeds in a band from least to most."""
    names: dict[tuple[str, str], None] = {}
    for cell in results.sweep.cells:
        names |= dict.fromkeys(cell.curves)
    order = sorted(names, key=lambda key: (list(dict.fromkeys(s for s, _ in names)).index(key[0]), key[1] != "loss"))
    return [
        (f"{stage}: {name}", _curve_plot(results, stage, name, number)) for number, (stage, name) in enumerate(order)
    ]


def _curve_plot(results: Results, stage: str, name: str, number: int) -> str:
    drawn = []
    for place, arm in enumerate(results.arms):
        own = [cell.curves[stage, name] for cell in arm.cells if (stage, name) in cell.curves]
        if own:
            drawn.append((place, arm.name, *_band(own)))

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for place, label, steps, low, mean, high in drawn:
            colour, dash = SERIES[place % 8], DASHES[place // 8 % 4]
            single = {"marker": _MARKS[place % 8], "markersize": 5} if len(steps) == 1 else {}
            axis.plot(steps, mean, color=colour, ls=dash, lw=1.8, label=label, **single)
            if np.any(high > low):
                axis.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
        axis.set_xlabel("step")
        axis.set_ylabel(name)
        if len(drawn) > 1:
            axis.legend(fontsize=8, ncols=min(3, len(drawn)), loc="lower left", bbox_to_anchor=(0, 1))

    about = f"Learning curves of stage {stage}, {name}, of {', '.join(label for _, label, *_ in drawn)}."
    return svg(draw, (5.4, 2.8), about, f"curve{number}")


def _band(curves: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(steps, least, mean, most) [P] over the steps that all seeds reached, at most `MAX_POINTS` of them."""
    last = min(curve[-1, 0] for curve in curves)
    first = max(curve[0, 0] for curve in curves)
    steps = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    inside = steps[(steps >= first) & (steps <= last)]
    steps = inside if len(inside) else steps[:1]
    if len(steps) > MAX_POINTS:
        steps = steps[np.linspace(0, len(steps) - 1, MAX_POINTS).round().astype(int)]
    values = np.stack([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves])  # [S, P]
    return steps, values.min(0), values.mean(0), values.max(0)


def front_plot(results: Results, column: Column) -> str | None:
    """Quality against every cost that differs between arms, and the front of what nothing beats in both; or None."""
    if column.higher_is_better is None:
        return None
    rows = [(place, arm) for place, arm in enumerate(results.arms) if results.entry(arm.name, column)]
    costs = [arm.cost for _, arm in rows]
    names = [name for name in cost_names(results) if name not in _NO_PRICE and _differs(costs, name)][:4]
    if len(rows) < 2 or not names:
        return None

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for panel, name in zip(panels, names, strict=True):
            points = []
            for place, arm in rows:
                entry = results.entry(arm.name, column)
                if entry is None or name not in arm.cost:
                    continue
                x = arm.cost[name] / (COSTS[name].unit if name in COSTS else 1)
                y = entry.trials.mean * column.scale
                spread = entry.trials.spread * column.scale
                points.append((x, y))
                panel.errorbar(
                    [x],
                    [y],
                    yerr=None if math.isnan(spread) else [spread],
                    fmt=_MARKS[place % 8],
                    color=SERIES[place % 8],
                    markersize=7,
                    elinewidth=1.4,
                    label=arm.name,
                )
            front = pareto(points, bool(column.higher_is_better))
            panel.plot([x for x, _ in front], [y for _, y in front], color=DIM, lw=1, ls="--", zorder=0)
            panel.set_xlabel(COSTS[name].title if name in COSTS else name)
            panel.margins(0.15)
        panels[0].set_ylabel(_upright(column))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, ncols=min(4, len(labels)), loc="outside upper left")

    about = f"{column.title} against {', '.join(COSTS[n].title if n in COSTS else n for n in names)} of every arm."
    return svg(draw, (min(10.5, 1.2 + 3.1 * max(2, len(names))), 3.4), about, "front")


def _differs(costs: Sequence[Mapping[str, float]], name: str) -> bool:
    values = [cost[name] for cost in costs if name in cost]
    return len(values) > 1 and max(values) > 1.001 * min(values)


def pareto(points: Sequence[tuple[float, float]], higher_is_better: bool) -> list[tuple[float, float]]:
    """The (cost, quality) points that no other beats in one and equals in the other, by cost."""
    sign = 1 if higher_is_better else -1
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * y > sign * front[-1][1]:
            front.append((x, y))
    return front


def svg(draw: Any, size: tuple[float, float], about: str, name: str) -> str:
    """What `draw` puts on a figure, as SVG for a page: variables as colours, ids of its own, `about` as its text."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    sink = io.StringIO()
    with rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        draw(figure)
        for axis in figure.axes:
            axis.set_facecolor("none")
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"font: ?([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    label = html.escape(about, quote=True)
    width = round(100 * size[0])
    return text.replace("<svg", f'<svg role="img" aria-label="{label}" style="max-width:{width}px"', 1)
