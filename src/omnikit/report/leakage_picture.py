"""The picture of leakage reports: accuracy above chance of every factor, from units, features and log-mels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omnikit.evaluation.leakage_table import MAIN_VIEWS, Report
from omnikit.evaluation.probing import FACTORS, Reading, strongest

COLOURS = {"units": "#1b6ca8", "features": "#e08e2b", "log-mels": "#8a8a8a"}
NOTE = "(balanced accuracy − chance) / (1 − chance), strongest reader, 95 % over voices; ×: shuffled labels"


def above_chance(value: float, chance: float) -> float:
    """Accuracy in percent of the way from chance (0) to everything right (100); below chance it is negative."""
    return 100 * (value - chance) / (1 - chance)


def draw_reports(reports: Sequence[Report], path: Path) -> None:
    """Write a PNG with one panel a tokenizer: bars by factor and view, their intervals, crosses for the controls."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.5 * len(reports) + 0.9), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(reports), 1, squeeze=False, sharex=True)[:, 0]
    for axis, report in zip(axes, reports, strict=True):
        views = [view for view in MAIN_VIEWS if view in report.views]
        width = 0.8 / len(views)
        for number, view in enumerate(views):
            found = [(place, strongest(report.readings, factor, view)) for place, factor in enumerate(FACTORS)]
            _bars(axis, [(place - 0.4 + width * (number + 0.5), item) for place, item in found if item], width, view)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_ylim(-15, 105)
        axis.set_title(report.name, fontsize=10, loc="left")
        axis.set_ylabel("above chance, %", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.set_xticks(range(len(FACTORS)), FACTORS, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, ncols=3, frameon=False, loc="upper right")
    figure.supxlabel(NOTE, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _bars(axis: object, bars: Sequence[tuple[float, Reading]], width: float, view: str) -> None:
    places = [place for place, _ in bars]
    heights = [above_chance(item.accuracy.value, item.chance) for _, item in bars]
    reach = [
        [
            height - above_chance(item.accuracy.low, item.chance)
            for height, (_, item) in zip(heights, bars, strict=True)
        ],
        [
            above_chance(item.accuracy.high, item.chance) - height
            for height, (_, item) in zip(heights, bars, strict=True)
        ],
    ]
    axis.bar(places, heights, width, color=COLOURS[view], label=view)  # type: ignore[attr-defined]
    axis.errorbar(places, heights, reach, fmt="none", ecolor="black", elinewidth=0.8, capsize=2)  # type: ignore[attr-defined]
    controls = [above_chance(item.shuffled.value, item.chance) for _, item in bars]
    axis.plot(places, controls, "x", color="black", markersize=3.5)  # type: ignore[attr-defined]
