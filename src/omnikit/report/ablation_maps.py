"""The drawings of an ablation report that show counts: how codebooks are used, and what was taken for what.

Letters: R entries by rank, A what was asked, H what it was taken for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omnikit.report.ablation_folder import Confusion
from omnikit.report.ablation_plots import DASHES, INK, ITEMS, SERIES, svg
from omnikit.report.ablation_results import Column, Results

MAX_NUMBERED = 16
"""A heat map with more columns shows no numbers; the table below it has them."""


def use_plot(results: Results, column: Column, number: int) -> str | None:
    """Share of all units by rank of the entry, most used first, a line a seed; None where nobody counted units.

    The entries of several codebooks are ranked together. A line ends where the last entry occurs.
    """
    drawn = []
    for place, arm in enumerate(results.arms):
        for cell in arm.cells:
            for score in cell.scores:
                if (score.metric, score.signature) == column.key and score.use is not None:
                    counts = np.sort(np.concatenate(score.use.counts))[::-1]  # [R]
                    drawn.append((place, arm.name, sum(score.use.sizes), counts / counts.sum()))
    if not drawn:
        return None

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        named = set()
        for place, name, size, shares in drawn:
            look = {"color": SERIES[place % 8], "ls": DASHES[place // 8 % 4], "lw": 1.6}
            label = None if name in named else f"{name}: {size} entries"
            axis.plot(np.arange(1, len(shares) + 1), 100 * shares, label=label, **look)
            axis.plot([len(shares)], [100 * shares[-1]], "o", color=SERIES[place % 8], markersize=4)
            named.add(name)
        axis.set_xscale("log")
        axis.set_yscale("log")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter(lambda value, place: f"{value:g}")
            side.set_minor_formatter("")
        axis.set_xlabel("entries, most used first")
        axis.set_ylabel("share of all units, %")
        axis.legend(fontsize=8, ncols=min(3, len(named)), loc="lower left", bbox_to_anchor=(0, 1))

    names = ", ".join(dict.fromkeys(name for _, name, _, _ in drawn))
    about = f"How often the entries of the codebook occur, most used first, of {names}."
    return svg(draw, (7.6, 3.8), about, f"use{number}")


def confusion_plot(title: str, matrix: Confusion, name: str) -> str:
    """A heat map: a row for what was asked, a column for what it was taken for, shaded by the share of the row."""
    totals = matrix.counts.sum(1, keepdims=True)
    shares = matrix.counts / np.where(totals > 0, totals, 1)  # [A, H]
    num_rows, num_columns = shares.shape

    def draw(figure: Any) -> None:
        from matplotlib.patches import Rectangle

        axis = figure.subplots()
        for row, column in np.ndindex(shares.shape):
            share = float(shares[row, column])
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=ITEMS, alpha=0.65 * share, lw=0))
            if num_columns <= MAX_NUMBERED:
                axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=INK)
        axis.set_xlim(-0.5, num_columns - 0.5)
        axis.set_ylim(num_rows - 0.5, -0.5)
        axis.set_xticks(
            range(num_columns), matrix.heard, rotation=35 if num_columns <= MAX_NUMBERED else 90, ha="right"
        )
        axis.set_yticks(range(num_rows), matrix.asked)
        axis.tick_params(length=0)
        axis.grid(False)
        axis.set_xlabel("taken for")
        axis.set_ylabel("asked")

    right = sum(
        matrix.counts[row, matrix.heard.index(label)] for row, label in enumerate(matrix.asked) if label in matrix.heard
    )
    about = (
        f"{title}: {right:.0f} of {matrix.counts.sum():.0f} taken for what was asked. The table below has the numbers."
    )
    width = min(10.0, 1.9 + (0.55 if num_columns <= MAX_NUMBERED else 0.24) * num_columns)
    return svg(draw, (width, 1.3 + 0.42 * num_rows), about, name)
