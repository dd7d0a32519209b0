"""What a cell says of itself: `status.json`, written by the process of the cell, read by everybody else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omnikit.ablation.files import read_json, write_json
from omnikit.errors import OmnikitError

STATUS = "status.json"
QUEUED, RUNNING, DONE, FAILED, PREEMPTED = STATES = ("queued", "running", "done", "failed", "preempted")
TAIL = 30
"""Lines of a log that a status keeps."""
_STEP = re.compile(r"^\s*(?:\r\x1b\[K)?(\S+)  step (\d+)/(\d+)\b")


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def fresh() -> dict[str, Any]:
    """The status of a cell that nobody has begun."""
    return {
        "state": QUEUED,
        "host": None,
        "started": None,
        "ended": None,
        "stage": None,
        "step": None,
        "steps": None,
        "exception": None,
        "log_tail": [],
        "cost": {},
        "trainings": [],
    }


def read_status(folder: Path) -> dict[str, Any]:
    """The status of a cell; queued where there is none, failed where it cannot be read."""
    if not (folder / STATUS).exists():
        return fresh()
    try:
        found = read_json(folder / STATUS)
    except OmnikitError as error:
        return {**fresh(), "state": FAILED, "exception": str(error)}
    return {**fresh(), **found}


def write_status(folder: Path, status: dict[str, Any]) -> None:
    """Write the status of a cell, whole or not at all."""
    write_json(folder / STATUS, status)


def read_step(line: str) -> tuple[str, int, int] | None:
    """(stage, steps done, steps in all) of a progress line of a training run; None for any other line."""
    found = _STEP.match(line)
    return (found.group(1), int(found.group(2)), int(found.group(3))) if found else None


def cause(lines: Sequence[str], code: int) -> str:
    """Why a process ended with `code`, as its last lines tell: its own message, else the last line of its traceback."""
    if code < 0:
        return f"ended by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    told = [place for place, line in enumerate(lines) if re.match(r"omnikit \w+: ", line)]
    if told and not any(line.startswith("Traceback") for line in lines[told[-1] :]):
        return "\n".join(lines[told[-1] :][:8])
    spoken = [line for line in lines if line.strip() and not line.startswith(" ")]
    return spoken[-1] if spoken else f"ended with code {code} and said nothing"
