"""Processes end together: a wish to stop reaches all of them and they save; none outlives the one that waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ablation.conftest import plan_of_cells

from omnikit.ablation import processes
from omnikit.ablation.cell import is_busy, prepare
from omnikit.ablation.processes import TIED, Stopped, end_with_parent, stop, stoppable
from omnikit.ablation.status import read_status

FAKE = str(Path(__file__).with_name("fake_omnikit.py"))
CELL = """
import sys
from pathlib import Path
from omnikit.ablation import cell, processes
processes.end_with_parent()
cell.COMMAND, cell.GRACE_S = (sys.executable, sys.argv[2]), float(sys.argv[3])
sys.exit(cell.run_cell(Path(sys.argv[1])))
"""
STUDY = """
import sys
from pathlib import Path
from omnikit.ablation import launchers
from omnikit.ablation.processes import Stopped, stoppable
from omnikit.ablation.runner import OnFailure, run_cells
from ablation.conftest import plan_of_cells
cell, sweep, fake, grace = sys.argv[1:]
launchers.words_of = lambda folder: [sys.executable, "-c", cell, str(folder), fake, grace]
try:
    with stoppable():
        run_cells(Path(sweep), plan_of_cells(2).cells, launchers.Local(1), OnFailure())
except Stopped as stopped:
    sys.exit(stopped.code)
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def until(there: Callable[[], object], seconds: float = 300.0) -> None:
    deadline = time.time() + seconds
    while not there() and time.time() < deadline:
        time.sleep(0.05)
    assert there()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[subprocess.Popen[bytes], Path, Path]]:
    """Starts a study of two cells in a process of its own; gives it with both cells, the first one in training."""
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    cells = plan_of_cells(2).cells
    first, second = (tmp_path / cell.folder for cell in cells)
    for cell in cells:
        prepare(tmp_path, cell.document(), cell.folder)

    def begin(mode: str = "slow", grace: float = 60.0, **how: object) -> tuple[subprocess.Popen[bytes], Path, Path]:
        monkeypatch.setenv("FAKE_MODE", mode)
        words = [sys.executable, "-c", STUDY, CELL, str(tmp_path), FAKE, str(grace)]
        process = subprocess.Popen(words, **how)  # type: ignore[call-overload]
        until(lambda: read_status(first)["step"] == 1 or process.poll() is not None)
        return process, first, second

    return begin


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_study_that_is_asked_to_stop_has_its_cell_save_and_leaves_nothing_running(
    number: signal.Signals, study: Callable[..., tuple[subprocess.Popen[bytes], Path, Path]], tmp_path: Path
) -> None:
    """Started as in the background of a shell script, where Ctrl-C is ignored by all that is started."""
    ignoring = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if number == signal.SIGINT else None
    process, first, second = study(preexec_fn=ignoring)
    process.send_signal(number)
    assert process.wait(300) == 128 + number
    assert not is_busy(first) and (tmp_path / "shared" / "key0" / "saved").exists()
    status = read_status(first)
    assert (status["state"], status["exception"]) == ("preempted", "stopped before it was done")
    assert read_status(second)["state"] == "queued", "no other cell was begun"


def test_a_cell_ends_by_itself_when_its_study_was_killed(
    study: Callable[..., tuple[subprocess.Popen[bytes], Path, Path]], tmp_path: Path
) -> None:
    process, first, _ = study()
    process.kill()
    process.wait(300)
    until(lambda: not is_busy(first))
    assert read_status(first)["state"] == "preempted" and (tmp_path / "shared" / "key0" / "saved").exists()


def test_a_command_ends_by_itself_when_its_cell_was_killed(
    study: Callable[..., tuple[subprocess.Popen[bytes], Path, Path]], tmp_path: Path
) -> None:
    process, first, second = study()
    (cell,) = _children(process.pid)
    (command,) = _children(cell)
    os.kill(cell, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{command}").exists())
    assert (tmp_path / "shared" / "key0" / "saved").exists()
    until(lambda: read_status(second)["state"] == "running")
    assert read_status(first)["state"] == "failed", "a killed cell is a failure, and the next one runs"
    process.terminate()
    process.wait(300)


def test_what_does_not_end_in_time_is_killed(
    study: Callable[..., tuple[subprocess.Popen[bytes], Path, Path]], tmp_path: Path
) -> None:
    process, first, _ = study(mode="deaf", grace=0.5)
    process.terminate()
    assert process.wait(300) == 128 + signal.SIGTERM
    assert not is_busy(first) and read_status(first)["state"] == "preempted"
    assert not (tmp_path / "shared" / "key0" / "saved").exists()


def _children(number: int) -> list[int]:
    tasks = Path(f"/proc/{number}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def test_a_group_is_killed_with_what_it_started_after_the_grace_or_at_a_second_wish(tmp_path: Path) -> None:
    deaf = "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.fork(); os.write(1, b'%d\\n' % os.getpid())"
    words = [sys.executable, "-c", deaf + "; time.sleep(60)"]

    def started() -> tuple[subprocess.Popen[bytes], list[int]]:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        return process, [int(process.stdout.readline()) for _ in range(2)]

    for again in (False, True):
        process, numbers = started()
        if again:
            threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
        began = time.monotonic()
        with stoppable():
            stop([process], 30.0 if again else 0.2)
        assert time.monotonic() - began < 29
        for number in numbers:
            until(lambda number=number: not _runs(number))


def _runs(number: int) -> bool:
    """Whether a process is there and not only its entry, which waits for whoever started it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_signals_are_taken_for_a_while_and_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM") as caught, stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)  # nohup stays nohup
    finally:
        signal.signal(signal.SIGHUP, kept)


def test_what_is_tied_is_interrupted_once_and_hands_the_tie_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_watch", lambda parent: None)
    monkeypatch.setenv(TIED, str(os.getppid()))
    kept = signal.getsignal(signal.SIGINT)
    try:
        end_with_parent()
        assert TIED not in os.environ
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # while it saves
        monkeypatch.setenv("OTHER", "x")
        end_with_parent()
    finally:
        signal.signal(signal.SIGINT, kept)
