"""Running a sweep: one place, one plan, one runner at a time; what is done stays done, what failed is told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnikit.ablation import status as states
from omnikit.ablation.cell import BUSY, OK, is_busy, is_done, prepare
from omnikit.ablation.cell import PREEMPTED as ENDED_EARLY
from omnikit.ablation.files import read_json, write_json
from omnikit.ablation.launchers import Launcher
from omnikit.ablation.plan import Cell, Plan
from omnikit.ablation.status import TAIL, cause, now, read_status, write_status
from omnikit.data.locks import Locked, locked
from omnikit.errors import OmnikitError

SWEEP, LOCK = "sweep.json", "lock"
MORE_TURNS = 100
"""How often a preempted cell is started anew."""


@dataclass(frozen=True)
class OnFailure:
    """What a failed cell means: go on, stop starting others, or try it again `retries` times."""

    stop: bool = False
    retries: int = 0

    @classmethod
    def parse(cls, text: str) -> OnFailure:
        """Read `continue`, `stop` or `retry:n`."""
        word, _, number = text.partition(":")
        if word == "retry" and number.isdigit() and int(number) > 0:
            return cls(retries=int(number))
        if number or word not in ("continue", "stop"):
            raise OmnikitError(f"on_failure={text}: write continue, stop or retry:n, e.g. on_failure=retry:2.")
        return cls(stop=word == "stop")


@dataclass(frozen=True)
class Failure:
    """A cell that did not become done, and why."""

    cell: Cell
    state: str
    cause: str


def refuse_another_plan(folder: Path, plan: Plan) -> bool:
    """Whether a folder holds this plan already; one that cannot be read counts as none, for cells know themselves.

    The same plan with fewer seeds counts as none too: seeds may be added. Raises `OmnikitError` where the folder holds
    a sweep of another plan.
    """
    if not (folder / SWEEP).exists():
        return False
    try:
        found, wanted = read_json(folder / SWEEP), plan.document()
    except OmnikitError as error:
        print(f"{error} It is written anew; what is done stays done.", file=sys.stderr)
        return False
    if found.get("plan") == wanted["plan"]:
        return True
    if _adds_seeds(found, wanted):
        return False
    names = ("question", "kind", "baseline", "primary", "seeds", "budget", "arms", "cells")
    apart = [name for name in names if found.get(name) != wanted[name]]
    raise OmnikitError(
        f"{folder} holds a sweep of another plan (other {', '.join(apart) or 'contents'}).\n"
        "Nothing was changed. Give this one a folder of its own: out=FOLDER"
    )


def _adds_seeds(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a plan is one that was found, cells and all, with more seeds."""
    apart = {name for name in wanted if found.get(name) != wanted[name]}
    return apart == {"plan", "seeds", "cells"} and all(cell in wanted["cells"] for cell in found["cells"])


def missing(folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    """The cells that are not done yet, one for each folder."""
    apart = {cell.id: cell for cell in cells}
    return [cell for cell in apart.values() if not is_done(folder / cell.folder)]


@contextmanager
def opened(folder: Path, plan: Plan) -> Iterator[list[Cell]]:
    """Hold a sweep's folder, write its plan, and give the cells to run; a second runner is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / LOCK, wait=False):
            if not refuse_another_plan(folder, plan):
                write_json(folder / SWEEP, {**plan.document(), "command": " ".join(sys.argv), "created": now()})
            todo = missing(folder, plan.cells)
            for cell in todo:
                if not is_busy(folder / cell.folder):
                    prepare(folder, cell.document(), cell.folder)
            yield todo
    except Locked:
        raise Locked(
            f"Another command runs the sweep in {folder}.\nWait for it, stop it, or give another folder: out=FOLDER"
        ) from None


def run_cells(
    folder: Path,
    cells: Sequence[Cell],
    launcher: Launcher,
    on_failure: OnFailure,
    told: Callable[[Cell, str], None] = lambda cell, state: None,
) -> list[Failure]:
    """Run cells until each is done or has failed for good; returns those that are not done, with causes.

    `told` hears of every cell that ended and of its state. Cells that another process still runs (of a runner that was
    killed) are waited for first.
    """
    by_folder = {folder / cell.folder: cell for cell in cells}
    attempts = dict.fromkeys(by_folder, 0)
    turns = dict.fromkeys(by_folder, 0)
    waiting = list(by_folder)
    while waiting:
        _wait_for(waiting)
        again: list[Path] = []
        stopped = False
        with _closed_at_the_end(launcher, [place for place in waiting if not is_done(place)]) as run:
            for place, code in run:
                _settle(place, code)
                told(by_folder[place], read_status(place)["state"])
                if is_done(place):
                    continue
                if code in (ENDED_EARLY, BUSY):
                    turns[place] += 1
                    if turns[place] <= MORE_TURNS:
                        again.append(place)
                    continue
                attempts[place] += 1
                if attempts[place] <= on_failure.retries:
                    again.append(place)
                elif on_failure.stop:
                    stopped = True
                    break
        waiting = [] if stopped else again
    return [_failure(folder, cell) for cell in missing(folder, cells)]


@contextmanager
def _closed_at_the_end(launcher: Launcher, places: Sequence[Path]) -> Iterator[Iterator[tuple[Path, int]]]:
    """What a launcher yields; at the end, also an early one, it has stopped its cells, and each of them says so."""
    run = launcher.run(places)
    try:
        yield run
    finally:
        if hasattr(run, "close"):
            run.close()
        for place in places:
            found = read_status(place)
            if found["state"] == states.RUNNING and not is_busy(place):  # killed before it could say so itself
                _say(place, found | {"state": states.PREEMPTED, "ended": now(), "exception": "killed"})


def _wait_for(places: Sequence[Path]) -> None:
    """Wait until no other process works on the cells; what it does then counts as done."""
    for place in places:
        if is_busy(place):
            print(f"{place.name}: waiting for a process of an earlier command", file=sys.stderr, flush=True)
            while is_busy(place):
                time.sleep(1.0)


def _settle(place: Path, code: int) -> None:
    """Say for a cell whose process could not (killed, or no room left) that it ended."""
    found = read_status(place)
    if found["state"] in (states.QUEUED, states.RUNNING) and code not in (OK, BUSY):
        log = place / "process.txt"
        lines = log.read_text(errors="replace").splitlines()[-TAIL:] if log.exists() else []
        _say(place, found | {"state": states.FAILED, "ended": now(), "exception": cause(lines, code)})


def _say(place: Path, status: dict[str, Any]) -> None:
    """Write a cell's status in its place, as far as there is room."""
    try:
        write_status(place, status)
    except OSError as error:
        print(f"{place}: its status cannot be written: {error}", file=sys.stderr)


def _failure(folder: Path, cell: Cell) -> Failure:
    found = read_status(folder / cell.folder)
    why = found["exception"] or ("not started" if found["state"] == states.QUEUED else "ended without a word")
    return Failure(cell, found["state"], str(why))
