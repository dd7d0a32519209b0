"""Draw the training curves of a run, one picture a stage, one panel a quantity, and print where they end.

    python examples/plot_curves.py runs/emova_tiny docs/img

reads `runs/emova_tiny/*/curves.csv` (step, seconds, name, value), writes `docs/img/curve_<stage>.png` and prints the
mean of every quantity over the last 500 steps.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Curve = list[tuple[int, float]]
MAX_COLUMNS = 3
LAST_STEPS = 500


def read_curves(path: Path) -> dict[str, Curve]:
    """(step, value) pairs of every name in a `curves.csv`; a validation value only where it is new."""
    curves: dict[str, Curve] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            curve, value = curves[row["name"]], float(row["value"])
            if not (row["name"].startswith("valid") and curve and curve[-1][1] == value):
                curve.append((int(row["step"]), value))
    return dict(curves)


def panels_of(names: list[str]) -> dict[str, list[str]]:
    """Names by panel: a validation value shares the panel of the training value of the same name."""
    panels: dict[str, list[str]] = defaultdict(list)
    for name in names:
        panels[name.removeprefix("valid_").removeprefix("train_")].append(name)
    return dict(panels)


def ends_of(curves: dict[str, Curve]) -> dict[str, float]:
    """The mean of every quantity over the last 500 steps of the stage."""
    end = max(step for curve in curves.values() for step, _ in curve)
    tails = {name: [value for step, value in curve if step > end - LAST_STEPS] for name, curve in curves.items()}
    return {name: sum(tail) / len(tail) for name, tail in tails.items() if tail}


def draw(curves: dict[str, Curve], title: str, path: Path) -> None:
    """Write one PNG with a panel for every quantity."""
    panels = panels_of(list(curves))
    columns = min(MAX_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.3 * rows), squeeze=False, layout="constrained")
    for axis in grid.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (quantity, names) in zip(grid.flat, panels.items(), strict=False):
        for name in names:
            steps, values = zip(*curves[name], strict=True)
            is_valid = name.startswith("valid")
            label = "validation" if is_valid else "training"
            axis.plot(steps, values, linewidth=1.6 if is_valid else 0.8, marker="." if is_valid else "", label=label)
        axis.set_title(quantity if len(names) > 1 else names[0], fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        if len(names) > 1:
            axis.legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


def main() -> int:
    """Draw every stage of a run; 2 when there is none."""
    parser = argparse.ArgumentParser(description="Draw the training curves of a run.")
    parser.add_argument("run", type=Path, help="a folder with one folder a stage, e.g. runs/emova_tiny")
    parser.add_argument(
        "out", type=Path, nargs="?", default=Path("docs/img"), help="where pictures go (default: docs/img)"
    )
    args = parser.parse_args()
    found = sorted(args.run.glob("*/curves.csv"))
    if not found:
        print(f"There is no */curves.csv in {args.run}. Give the folder that `omnikit train` wrote.", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    for path in found:
        target = args.out / f"curve_{path.parent.name}.png"
        curves = read_curves(path)
        draw(curves, f"{args.run.name}: {path.parent.name}", target)
        print(target, *(f"{name} {value:.3g}" for name, value in ends_of(curves).items()), sep="  ")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
