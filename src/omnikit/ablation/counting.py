"""FLOPs of a training step of every stage of every arm, counted on one real step each before a study is planned."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from omnikit.ablation.cell import COMMAND, finished, with_weights
from omnikit.ablation.files import read_json, write_text
from omnikit.ablation.plan import Plan, Step
from omnikit.ablation.processes import tied
from omnikit.ablation.status import cause
from omnikit.data.locks import locked
from omnikit.errors import OmnikitError


def count_flops(plan: Plan, home: Path, told: Callable[[str], None]) -> dict[str, dict[str, int]]:
    """FLOPs of one step by arm and stage, from a plan whose stages are one step long; kept in `home` by step key.

    A stage starts from what one step of the stages before it left, as it later starts from all of their steps. Raises
    `OmnikitError` where a step fails, or runs where nothing can be counted (several devices, compiled blocks).
    """
    cells = {cell.arm: cell for cell in reversed(plan.cells)}
    return {arm: {step.stage: _flops_of(step, arm, home, told) for step in cell.steps} for arm, cell in cells.items()}


def _flops_of(step: Step, arm: str, home: Path, told: Callable[[str], None]) -> int:
    folder = home / step.key
    cost = folder / step.stage / "cost.json"
    with locked(folder / "lock"):
        if not finished(folder / step.stage):
            told(f"counting the FLOPs of one step of {step.stage} of {arm}")
            _run(step, home, folder)
    found = read_json(cost).get("flops_per_step")
    if not found:
        raise OmnikitError(
            f"The FLOPs of stage {step.stage} could not be counted ({cost}).\n"
            "Count on one device without trainer.compile, or match arms by steps or tokens."
        )
    return int(found)


def _run(step: Step, home: Path, folder: Path) -> None:
    config = {**with_weights(step.config, step.sources, home), "out": str(folder)}
    path = folder / "config.yaml"
    write_text(path, yaml.safe_dump(config, sort_keys=False))
    done = subprocess.run(
        [*COMMAND, "train", "--config", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=tied(os.environ),
    )
    if done.returncode != 0:
        raise OmnikitError(
            f"One step of {step.stage} fails, so its FLOPs are not known.\n"
            f"{cause(done.stdout.splitlines(), done.returncode)}"
        )
