"""Draw how far every style moves the voice, beside what the style's rule asks for.

    omnikit eval experiment=emova_tiny "parts=[control]" --json > control.json
    python examples/plot_control.py control.json docs/img/control.png

One panel for duration, F0 and level: a bar with its interval for every change of style, a mark where the rule is.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PANELS = ("duration moved", "F0 moved", "level moved")
RULE = "the rule says "


def moved_by_style(figures: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of `control` by panel and change of style."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in PANELS}
    for figure in figures:
        if figure["part"] == "control" and figure["group"] and figure["name"] in found:
            found[figure["name"]][figure["group"]] = figure
    return found


def draw(panels: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """Write one PNG."""
    figure, axes = plt.subplots(1, len(panels), figsize=(9.0, 2.9), sharey=True, layout="constrained")
    for axis, (name, styles) in zip(axes, panels.items(), strict=True):
        places = range(len(styles))
        values = [own["value"] for own in styles.values()]
        ends = [
            [own["value"] - own["low"] for own in styles.values()],
            [own["high"] - own["value"] for own in styles.values()],
        ]
        axis.barh(places, values, xerr=ends, height=0.6, color="tab:blue", ecolor="black", label="made")
        rules = [
            float(own["how"].removeprefix(RULE)) if own["how"].startswith(RULE) else 0.0 for own in styles.values()
        ]
        axis.plot(rules, places, "o", color="tab:orange", markersize=5, label="rule")
        axis.axvline(0, color="grey", linewidth=0.6)
        axis.set_yticks(places, list(styles), fontsize=8)
        axis.set_xlabel(f"{name}, {next(iter(styles.values()))['unit']}", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].invert_yaxis()
    axes[-1].legend(fontsize=7)
    figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})
    plt.close(figure)


def main() -> int:
    """Draw one evaluation; 2 when it holds no figures of `control` by style."""
    parser = argparse.ArgumentParser(description="Draw how far every style moves the voice.")
    parser.add_argument("figures", type=Path, help="what `omnikit eval … --json` printed")
    parser.add_argument("out", type=Path, help="the picture (.png)")
    args = parser.parse_args()
    panels = moved_by_style(json.loads(args.figures.read_text())["figures"])
    if not all(panels.values()):
        print(
            f"{args.figures} has no figures of the part `control` by style.\n"
            'Make it: omnikit eval experiment=emova_tiny "parts=[control]" --json',
            file=sys.stderr,
        )
        return 2
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw(panels, args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
