"""The process of one cell: the training steps that nobody has done yet, then the evaluation, each a command of its own.

Commands read fully resolved configs, so a cell is what its folder says, whoever starts it, and as often as it takes. A
lock is inherited by the commands: it is held as long as any of them lives, even if the process of the cell was killed.
"""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from omnikit.ablation import status as states
from omnikit.ablation.costs import cell_cost, curves, measured_costs, trainings
from omnikit.ablation.files import read_json, read_lines, write_json, write_lines, write_text
from omnikit.ablation.processes import GRACE_S, kill, stop, tied
from omnikit.ablation.shortening import num_steps
from omnikit.ablation.status import TAIL, cause, fresh, now, read_status, read_step, write_status
from omnikit.data.locks import Locked, locked
from omnikit.errors import OmnikitError

CELL, SCORES, CURVES, LOCK = "cell.json", "scores.jsonl", "curves.jsonl", "lock"
CARD = "component.json"
COMMAND = (sys.executable, "-m", "omnikit")
OK, FAILED, PREEMPTED, BUSY = 0, 3, 143, 75
"""How the process of a cell ends; BUSY: another process runs it."""
STATUS_EVERY_S = 1.0


def prepare(sweep: Path, cell: Mapping[str, Any], folder: str) -> None:
    """Write the files that a cell starts from; what an earlier attempt left of it stays."""
    write_json(sweep / folder / CELL, cell)
    if read_status(sweep / folder)["state"] != states.DONE:
        write_status(sweep / folder, fresh())


def is_done(folder: Path) -> bool:
    """Whether a cell is finished: it says so, and its scores are there."""
    return read_status(folder)["state"] == states.DONE and (folder / SCORES).is_file()


def is_busy(folder: Path) -> bool:
    """Whether a process works on a cell."""
    try:
        with locked(folder / LOCK, wait=False):
            return False
    except Locked:
        return True


def run_cell(folder: Path) -> int:
    """Run the cell of a folder, or what is missing of it; returns how it ended (OK, FAILED, PREEMPTED or BUSY)."""
    try:
        with locked(folder / LOCK, wait=False) as held:
            if is_done(folder):
                return OK
            return _Process(folder, held).run()
    except Locked:
        print(f"{folder}: another process runs this cell.", file=sys.stderr)
        return BUSY


class _Ended(Exception):
    """A command ended without success; the message is the cause."""


class _Preempted(Exception):
    """The machine wants its place back."""


class _Process:
    def __init__(self, folder: Path, held: int) -> None:
        self.folder, self.shared, self.held = folder.resolve(), folder.resolve().parents[1] / "shared", held
        self.cell = read_json(folder / CELL)
        self.status = {**fresh(), "host": socket.gethostname(), "started": now()}
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.command: subprocess.Popen[str] | None = None
        self.stopping = False
        self.written = 0.0

    def run(self) -> int:
        for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._stop)
        try:
            for step in self.cell["steps"]:
                self._train(step)
            self._finish(self._evaluate())
        except (_Preempted, KeyboardInterrupt):
            self._give_up(states.PREEMPTED, "stopped before it was done")
            return PREEMPTED
        except (_Ended, OmnikitError, OSError) as error:
            self._give_up(states.FAILED, str(error))
            return FAILED
        return OK

    def _give_up(self, state: str, why: str) -> None:
        """Say that the cell ended early; where not even that can be written, its runner is told and says it later."""
        try:
            self._say(state=state, ended=now(), exception=why)
        except OSError as error:
            print(f"{self.folder}: {why}\nIts status cannot be written: {error}", file=sys.stderr)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Ask the running command to save and end, as Ctrl-C does, and kill it if it does not; without one, end."""
        again, self.stopping = self.stopping, True
        if self.command is None or self.command.poll() is not None:
            raise _Preempted
        if not again:
            self.command.send_signal(signal.SIGINT)
            late = threading.Timer(GRACE_S, kill, [self.command])
            late.daemon = True
            late.start()

    def _train(self, step: Mapping[str, Any]) -> None:
        home, stage = self.shared / step["key"], step["stage"]
        if finished(home / stage):
            self.status |= dict.fromkeys(("step", "steps"), num_steps(step["config"]["stage"]))
            return
        self._say(state=states.RUNNING, stage=stage, step=None, steps=None)
        with locked(home / LOCK, waiting=lambda: self._hear(f"waiting for another cell's {stage}")) as shared:
            if self.stopping:
                raise _Preempted
            if finished(home / stage):
                return
            config = with_weights(step["config"], step["sources"], self.shared)
            write_text(home / "config.yaml", yaml.safe_dump({**config, "out": str(home)}, sort_keys=False))
            self._run(["train", "--config", str(home / "config.yaml")], home / "log.txt", (self.held, shared))
            if not finished(home / stage):
                raise _Ended(f"stage {stage} ended without finishing")

    def _evaluate(self) -> float:
        """Judge the parts that the steps made; returns the seconds it took."""
        started = time.time()
        self._say(state=states.RUNNING, stage="evaluation")
        config = with_weights(self.cell["evaluation"], self.cell["sources"], self.shared)
        systems = [self.shared / step["key"] / "system" for step in self.cell["steps"]]
        made = [folder for folder in systems if folder.is_dir()]
        config["weights"] = str(made[-1]) if made else config["weights"]
        write_text(self.folder / "eval.yaml", yaml.safe_dump(config, sort_keys=False))
        words = ["eval", "--config", str(self.folder / "eval.yaml"), "--scores", str(self.folder / SCORES)]
        self._run([*words, "--takes", str(self.folder / "media")], self.folder / "evaluation.txt", (self.held,))
        return time.time() - started

    def _finish(self, evaluation_s: float) -> None:
        steps = [(step, self.shared / step["key"] / step["stage"]) for step in self.cell["steps"]]
        write_lines(self.folder / CURVES, curves((step["stage"], folder) for step, folder in steps))
        parts = [folder for folder in source_folders(self.cell["sources"], self.shared).values() if folder]
        cost = cell_cost([(step["config"]["stage"], folder) for step, folder in steps], parts, evaluation_s)
        cost |= measured_costs(read_lines(self.folder / SCORES))
        taken = trainings((step["key"], step["stage"], folder) for step, folder in steps)
        self._say(state=states.DONE, ended=now(), stage=None, exception=None, cost=cost, trainings=taken)

    def _run(self, words: Sequence[str], log: Path, held: tuple[int, ...]) -> None:
        """Run one command of omnikit, keep what it says, and raise where it fails."""
        if self.stopping:
            raise _Preempted
        log.parent.mkdir(parents=True, exist_ok=True)
        said: deque[str] = deque(maxlen=TAIL)
        with log.open("a", encoding="utf-8") as file:
            self.command = subprocess.Popen(
                [*COMMAND, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env=tied(os.environ),
                start_new_session=True,
                pass_fds=held if os.name == "posix" else (),
            )
            assert self.command.stdout is not None
            try:
                for line in self.command.stdout:
                    file.write(line)
                    file.flush()
                    said.append(line.rstrip("\n"))
                    self._hear(line.rstrip("\n"))
                code = self.command.wait()
            finally:  # a full disk must not leave a command behind
                stop([self.command])
        if self.stopping:
            raise _Preempted
        if code != 0:
            told = cause(list(said), code)
            raise _Ended(told if told.startswith("omnikit ") else f"omnikit {words[0]}: {told}")

    def _hear(self, line: str) -> None:
        self.tail.append(line)
        step = read_step(line)
        if step is not None:
            self.status |= {"step": step[1], "steps": step[2]}
        if step is not None or time.time() - self.written > STATUS_EVERY_S:
            self._say()

    def _say(self, **changes: Any) -> None:
        self.status |= {**changes, "log_tail": list(self.tail)}
        write_status(self.folder, self.status)
        self.written = time.time()


def source_folders(sources: Mapping[str, Mapping[str, str]], shared: Path) -> dict[str, Path | None]:
    """The folder of every slot's weights; None for one that a step may leave and did not (a style without a table)."""
    found: dict[str, Path | None] = {}
    for slot, source in sources.items():
        made = "step" in source
        folder = shared / source["step"] / source["stage"] / "parts" / slot if made else Path(source["folder"])
        found[slot] = folder if (folder / CARD).is_file() else None
    return found


def with_weights(config: Mapping[str, Any], sources: Mapping[str, Mapping[str, str]], shared: Path) -> dict[str, Any]:
    """A config whose slots name the folders that their weights come from."""
    made = copy.deepcopy(dict(config))
    for slot, folder in source_folders(sources, shared).items():
        made[slot]["weights"] = None if folder is None else str(folder)
    return made


def finished(run: Path) -> bool:
    """Whether the training run in a folder is over. Raises `OmnikitError` where what it says of itself is broken."""
    try:
        return (run / "state.json").is_file() and bool(read_json(run / "state.json").get("finished"))
    except OmnikitError as error:
        raise OmnikitError(
            f"The run in {run} is broken: {error}\nRemove that folder; the same command then makes it anew."
        ) from error
