"""What runs cost: of a cell that is done, and of one that is yet to run, as far as earlier runs tell."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omnikit.ablation.files import read_json
from omnikit.ablation.shortening import batch_size, num_steps

MIB = 2**20
MEASURED = {
    "speed.real_time_factor": "real_time_factor",
    "latency.first_sound_of_an_answer": "first_audio_s",
    "tokenizer.bit_rate_entropy": "bit_rate",
}
"""Metrics that are costs as well, and their names as costs."""


def cell_cost(steps: Sequence[tuple[Mapping[str, Any], Path]], parts: Iterable[Path], evaluation_s: float) -> dict:
    """The cost of a cell as if it were alone, so of steps that others use too: (stage config, folder of its run) each.

    `parameters` counts the trained parts that are judged; `tokens` and `audio_s` are what the batches of the stages
    hold at most; memory is the largest of any stage. `flops` are those of a run's first step times its steps, of
    training alone; they are left out where a run could not count them.
    """
    costs = [read_json(folder / "cost.json") for _, folder in steps]
    counted = [cost.get("flops_per_step") for cost in costs]
    held: dict[str, float] = {"tokens": 0.0, "s": 0.0, "size": 0.0}
    for stage, _ in steps:
        unit, size = batch_size(stage)
        held[unit] += size * num_steps(stage)
    found = {
        "wall_s": round(sum(cost["wall_s"] for cost in costs) + evaluation_s, 1),
        "cpu_s": round(sum(cost["process_s"] for cost in costs), 1),
        "evaluation_s": round(evaluation_s, 1),
        "steps": sum(cost["steps"] for cost in costs),
        "parameters": sum(map(num_parameters, parts)),
        "peak_memory_bytes": MIB * max((cost["peak_memory_mb"] for cost in costs), default=0),
        "peak_gpu_memory_bytes": MIB * max((cost["peak_gpu_memory_mb"] for cost in costs), default=0),
        "tokens": round(held["tokens"]),
        "audio_s": round(held["s"]),
    }
    if steps and all(counted):
        found["flops"] = sum(cost["flops_per_step"] * cost["steps"] for cost in costs)
    return found


def trainings(steps: Iterable[tuple[str, str, Path]]) -> list[dict[str, Any]]:
    """What each training took, (key, stage, folder of its run), by the key under which cells share it.

    `flops` is null where they could not be counted.
    """
    found = []
    for key, stage, folder in steps:
        cost = read_json(folder / "cost.json")
        each = cost.get("flops_per_step")
        found.append(
            {
                "key": key,
                "stage": stage,
                "wall_s": cost["wall_s"],
                "cpu_s": cost["process_s"],
                "steps": cost["steps"],
                "flops": each * cost["steps"] if each else None,
            }
        )
    return found


def measured_costs(scores: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The costs among the scores of a cell, as far as they were judged."""
    found = {MEASURED[row["metric"]]: row["value"] for row in scores if row.get("metric") in MEASURED}
    return {name: value for name, value in found.items() if value is not None}


def num_parameters(folder: Path) -> int:
    """Numbers in the weights of a part, read off the head of its safetensors file."""
    with (folder / "model.safetensors").open("rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, tensor in head.items():
        if name != "__metadata__":
            count = 1
            for size in tensor["shape"]:
                count *= size
            total += count
    return total


def curves(steps: Iterable[tuple[str, Path]]) -> Iterator[dict[str, Any]]:
    """The training curves of runs, (stage, folder) each, as rows of `curves.jsonl`."""
    for stage, folder in steps:
        if not (folder / "curves.csv").exists():
            continue
        with (folder / "curves.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                yield {
                    "stage": stage,
                    "step": int(row["step"]),
                    "seconds": float(row["seconds"]),
                    "name": row["name"],
                    "value": float(row["value"]),
                }


class Experience:
    """Seconds a step and memory of every stage, from the `cost.json` that earlier runs left."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._memory: dict[str, list[int]] = {}
        for path in sorted({path.resolve() for root in roots for path in _cost_files(root)}):
            try:
                cost = json.loads(path.read_text())
                seconds, memory = cost["wall_s"] / cost["steps"], cost["peak_memory_mb"]
            except (OSError, ValueError, KeyError, ZeroDivisionError):
                continue
            self._seconds.setdefault(path.parent.name, []).append(seconds)
            self._memory.setdefault(path.parent.name, []).append(memory)

    def seconds(self, stage: str, steps: int) -> float | None:
        """The expected time of a stage: the median of earlier ones; None where there was none."""
        known = self._seconds.get(stage)
        return None if not known else steps * statistics.median(known)

    def memory_mb(self, stages: Iterable[str]) -> int | None:
        """The largest memory that any of the stages took; None where one of them is unknown."""
        known = [self._memory.get(stage) for stage in stages]
        return max((max(own) for own in known if own), default=None) if all(known) else None


def _cost_files(root: Path) -> list[Path]:
    """Records of plain runs and of the steps of sweeps below a folder of runs."""
    patterns = ("*/*/cost.json", "*/shared/*/*/cost.json", "*/*/shared/*/*/cost.json")
    return [path for pattern in patterns for path in root.glob(pattern)]
