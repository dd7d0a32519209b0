"""A plan before it runs: what would run, what is done or skipped, how long it takes, and how much memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnikit.ablation.cell import finished, is_done
from omnikit.ablation.costs import Experience
from omnikit.ablation.plan import Cell, Plan, Step
from omnikit.ablation.status import read_status
from omnikit.errors import OmnikitError


@dataclass(frozen=True)
class Forecast:
    """What a plan will do in a folder, and what it takes as far as earlier runs tell (None: unknown).

    `seconds` are those of all processes; `jobs` of them run at a time.
    """

    plan: Plan
    folder: Path
    todo: Sequence[Cell]
    steps_todo: Sequence[Step]
    steps_done: Sequence[Step]
    seconds: float | None
    unknown: Sequence[str]
    memory_mb: int | None
    jobs: int

    @property
    def clock_s(self) -> float | None:
        """The expected time by the clock: the processes of all divided by those at a time."""
        return None if self.seconds is None else self.seconds / max(1, min(self.jobs, len(self.todo)))

    def document(self) -> dict[str, Any]:
        """The forecast as plain data."""
        todo = {cell.id for cell in self.todo}
        return {
            "folder": str(self.folder),
            "question": self.plan.question.question,
            "cells": [
                {
                    "id": cell.id,
                    "arm": cell.arm,
                    "seed": cell.seed,
                    "state": "run" if cell.id in todo else "done",
                    "stages": [step.stage for step in cell.steps],
                }
                for cell in self.plan.cells
            ],
            "pruned": {own.arm.name: own.pruned for own in self.plan.arms if own.pruned is not None},
            "runs": len(self.steps_todo),
            "runs_done": len(self.steps_done),
            "steps": sum(step.steps for step in self.steps_todo),
            "evaluations": len(self.todo),
            "expected_s": None if self.clock_s is None else round(self.clock_s),
            "expected_process_s": None if self.seconds is None else round(self.seconds),
            "cells_at_a_time": self.jobs,
            "expected_memory_mb": self.memory_mb,
            "unknown": list(self.unknown),
        }

    def text(self) -> str:
        """The forecast as people read it."""
        asked, todo = self.plan.question, {cell.id for cell in self.todo}
        lines = [
            f"{asked.question}",
            f"{self.folder}   {asked.kind}, baseline {asked.baseline}, budget {self.plan.budget}",
        ]
        width = max(len(own.arm.name) for own in self.plan.arms)
        for own in self.plan.arms:
            if own.pruned is not None:
                first, *rest = own.pruned.splitlines()
                lines += [f"  skip  {own.arm.name:<{width}}  {first}", *(f"        {line}" for line in rest)]
                continue
            for cell in self.plan.cells:
                if cell.arm == own.arm.name:
                    stages = ", ".join(step.stage for step in cell.steps) or "nothing to train"
                    word = "run " if cell.id in todo else "done"
                    lines.append(f"  {word}  {cell.arm:<{width}}  seed {cell.seed}  {stages}  {cell.folder}")
        steps = sum(step.steps for step in self.steps_todo)
        runs = f"{len(self.steps_todo)} training runs of {steps} steps in all ({len(self.steps_done)} done)"
        lines.append(f"{runs}; {len(self.todo)} evaluations")
        lines.append(f"expected time: {self._time()}; memory of a process: {self._memory()}")
        return "\n".join(lines)

    def _time(self) -> str:
        if self.clock_s is None:
            return f"unknown (no earlier run of {', '.join(self.unknown)})"
        hours, minutes = divmod(round(self.clock_s / 60), 60)
        one = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{self.clock_s:.0f} s"
        how = "one cell after another" if self.jobs == 1 else f"{self.jobs} cells at a time"
        return f"{one}, {how}, as earlier runs took"

    def _memory(self) -> str:
        return "unknown" if self.memory_mb is None else f"{self.memory_mb / 1024:.1f} GiB at most in earlier runs"


def forecast(plan: Plan, folder: Path, jobs: int = 1) -> Forecast:
    """Look at what is on disk, and at what earlier runs beside it cost; `jobs` cells will run at a time."""
    todo = [cell for cell in {cell.id: cell for cell in plan.cells}.values() if not is_done(folder / cell.folder)]
    wanted = {step.key: step for cell in todo for step in cell.steps}
    done = [step for step in plan.steps().values() if _is_finished(folder, step)]
    left = [step for step in wanted.values() if step not in done]
    known = Experience([folder, folder.parent, folder.parent.parent])
    times = {step.key: known.seconds(step.stage, step.steps) for step in left}
    unknown = {step.stage for step in left if times[step.key] is None}
    judging = _evaluation_s(plan, folder)
    if todo and judging is None:
        unknown.add("evaluation")
    seconds = None if unknown else sum(filter(None, times.values())) + len(todo) * (judging or 0.0)
    memory = known.memory_mb({step.stage for step in left}) if left else None
    return Forecast(plan, folder, todo, left, done, seconds, sorted(unknown), memory, jobs)


def _is_finished(folder: Path, step: Step) -> bool:
    try:
        return finished(folder / "shared" / step.key / step.stage)
    except OmnikitError:  # a broken run has to be made anew
        return False


def _evaluation_s(plan: Plan, folder: Path) -> float | None:
    """The mean time that cells of this sweep took to be judged; None before the first one."""
    costs = [read_status(folder / cell.folder)["cost"] for cell in plan.cells]
    known = [float(cost["evaluation_s"]) for cost in costs if "evaluation_s" in cost]
    return sum(known) / len(known) if known else None
