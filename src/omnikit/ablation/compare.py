"""Two runs side by side, or a run and its repetition: what was asked, what it ran on, what came out.

A run is a folder of one training stage (`config.yaml`, `run.json`, `curves.csv`, `parts/`) or a cell of a sweep
(`cell.json`, `scores.jsonl`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from omnikit.ablation.cell import CELL, SCORES
from omnikit.ablation.files import read_json, read_lines
from omnikit.errors import OmnikitError

MISSING = "—"
WHERE = ("out", "overwrite")
"""Keys of a config that say where a run lies and nothing of it."""


def is_cell(folder: Path) -> bool:
    """Whether a folder holds a cell of a sweep."""
    return (folder / CELL).is_file()


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested mappings with its dotted key; lists are leaves."""
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from flat(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, node


def read_run(folder: Path) -> dict[str, dict[str, Any]]:
    """What a run says of itself, in groups of dotted keys: config, environment, results, cost.

    Raises `OmnikitError` for a folder that holds no run.
    """
    if is_cell(folder):
        return _read_cell(folder)
    if not (folder / "config.yaml").is_file() or not (folder / "run.json").is_file():
        raise OmnikitError(
            f"{folder} holds no run: config.yaml and run.json are missing.\n"
            "Give the folder of a stage (runs/emova_tiny/tokenizer) or of a cell (…/cells/<id>)."
        )
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    record = read_json(folder / "run.json")
    environment = {name: record.get(name) for name in ("data", "python", "machine", "versions")}
    cost = read_json(folder / "cost.json") if (folder / "cost.json").is_file() else {}
    return {
        "config": dict(flat({name: value for name, value in config.items() if name not in WHERE})),
        "environment": dict(flat(environment)),
        "results": {**last_values(folder), **weights(folder)},
        "cost": dict(flat(cost)),
    }


def _read_cell(folder: Path) -> dict[str, dict[str, Any]]:
    cell = read_json(folder / CELL)
    asked: dict[str, Any] = {"arm": cell["arm"], "seed": cell["seed"], "evaluation": cell["evaluation"]}
    for step in cell["steps"]:
        asked[step["stage"]] = {name: value for name, value in step["config"].items() if name not in WHERE}
    status = read_json(folder / "status.json") if (folder / "status.json").is_file() else {}
    return {
        "config": dict(flat(asked)),
        "environment": {"host": status.get("host"), "state": status.get("state")},
        "results": {f"{row['metric']}": row["value"] for row in scores(folder)},
        "cost": dict(flat(status.get("cost", {}))),
    }


def scores(folder: Path) -> list[dict[str, Any]]:
    """The scores of a cell, none where it has none yet."""
    path = folder / SCORES
    return read_lines(path) if path.is_file() else []


def curve_rows(folder: Path) -> list[tuple[int, str, str]]:
    """(step, name, value) of every row of a run's curves, without the seconds, which differ from run to run."""
    path = folder / "curves.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [(int(row["step"]), row["name"], row["value"]) for row in csv.DictReader(file)]


def last_values(folder: Path) -> dict[str, float]:
    """The last value of every curve of a run."""
    return {name: float(value) for _, name, value in curve_rows(folder)}


def weights(folder: Path) -> dict[str, str]:
    """The sha256 of the weights of every part that a run wrote, as `parts.<slot>`."""
    cards = sorted((folder / "parts").glob("*/component.json"))
    return {f"parts.{card.parent.name}": read_json(card)["sha256"] for card in cards}


def differences(one: Path, other: Path) -> dict[str, dict[str, tuple[Any, Any]]]:
    """What two runs differ in, by group: dotted key → (value of one, value of the other)."""
    first, second = read_run(one), read_run(other)
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for group in first:
        keys = dict.fromkeys((*first[group], *second[group]))
        pairs = {key: (first[group].get(key, MISSING), second[group].get(key, MISSING)) for key in keys}
        found[group] = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    return found


def unlike(one: Path, other: Path) -> list[str]:
    """Where a repetition of a stage differs from the run: curves row by row, and weights; empty where nowhere."""
    found = []
    first, second = curve_rows(one), curve_rows(other)
    pairs = [pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]]
    if pairs:
        (step, name, value), (_, _, again) = pairs[0]
        found.append(
            f"curves differ in {len(pairs)} of {len(first)} rows, first {name} at step {step}: {value}, {again}"
        )
    if len(first) != len(second):
        found.append(f"curves have {len(first)} and {len(second)} rows")
    kept, made = weights(one), weights(other)
    found += [f"{name} differs" for name in dict.fromkeys((*kept, *made)) if kept.get(name) != made.get(name)]
    return found


def unlike_scores(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[str]:
    """The metrics in which two evaluations differ, in value, signature or any item."""
    first, second = ({row["metric"]: row for row in rows} for rows in (one, other))
    return [
        f"{name}: {first.get(name, {}).get('value', MISSING)}, {second.get(name, {}).get('value', MISSING)}"
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    ]
