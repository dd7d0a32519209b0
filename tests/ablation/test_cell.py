"""The process of a cell: steps once for all, stopping and going on, and locks that outlive a killed process."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ablation.conftest import plan_of_cells

from omnikit.ablation import cell as cells
from omnikit.ablation.cell import BUSY, FAILED, OK, PREEMPTED, is_busy, is_done, prepare, run_cell
from omnikit.ablation.files import write_text
from omnikit.ablation.status import read_status
from omnikit.data.locks import Locked, locked

FAKE = (sys.executable, str(Path(__file__).with_name("fake_omnikit.py")))
ALONE = "import sys; from pathlib import Path; from omnikit.ablation import cell; cell.COMMAND = tuple(sys.argv[2:]); \
sys.exit(cell.run_cell(Path(sys.argv[1])))"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cells, "COMMAND", FAKE)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def two_cells(folder: Path) -> list[Path]:
    """Two cells that share their training step."""
    plan = plan_of_cells(2, shared=True)
    for cell in plan.cells:
        prepare(folder, cell.document(), cell.folder)
    return [folder / cell.folder for cell in plan.cells]


def started(folder: Path) -> subprocess.Popen[bytes]:
    """The process of a cell, as soon as its command runs."""
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(folder), *FAKE])
    deadline = time.time() + 3000
    while read_status(folder)["step"] != 1 and process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    return process


def test_a_shared_step_runs_once_and_every_cell_is_judged(tmp_path: Path, log: Path) -> None:
    places = two_cells(tmp_path)
    assert [run_cell(place) for place in places] == [OK, OK]
    assert log.read_text().split("\n") == ["train same", "eval x", "eval x", ""]
    assert [read_status(place)["step"] for place in places] == [1, 100]
    for place in places:
        status = read_status(place)
        assert is_done(place)
        assert status["cost"]["parameters"] == 6 and status["cost"]["audio_s"] == 400
        assert status["cost"]["flops"] == 2 * 7
        assert status["trainings"] == [
            {"key": "same", "stage": "tokenizer", "wall_s": 4.0, "cpu_s": 3.0, "steps": 2, "flops": 14}
        ], "which others name, too"
        assert json.loads((place / "curves.jsonl").read_text())["value"] == 2.5
    assert run_cell(places[0]) == OK
    assert len(log.read_text().splitlines()) == 3


def test_a_failure_is_written_down_and_the_next_attempt_goes_on(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = two_cells(tmp_path)[0]
    monkeypatch.setenv("FAKE_MODE", "fail")
    assert run_cell(place) == FAILED
    status = read_status(place)
    assert status["state"] == "failed" and status["exception"] == "omnikit train: It cannot be."
    assert status["log_tail"] == ["omnikit train: It cannot be."] and status["ended"]
    monkeypatch.setenv("FAKE_MODE", "")
    assert run_cell(place) == OK and read_status(place)["exception"] is None


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_wanted_place_is_given_back_and_the_run_goes_on_later(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = two_cells(tmp_path)[0]
    monkeypatch.setenv("FAKE_MODE", "slow")
    process = started(place)
    assert is_busy(place) and run_cell(place) == BUSY
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == PREEMPTED
    assert read_status(place)["state"] == "preempted" and (tmp_path / "shared" / "same" / "saved").exists()
    assert run_cell(place) == OK


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_command_of_a_killed_cell_keeps_its_place_until_it_ends(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = two_cells(tmp_path)[0]
    monkeypatch.setenv("FAKE_MODE", "loose")
    process = started(place)
    process.kill()
    process.wait(300)
    assert is_busy(place) and run_cell(place) == BUSY
    with pytest.raises(Locked), locked(tmp_path / "shared" / "same" / "lock", wait=False):
        pass
    (orphan,) = [int(line) for line in _children_of_this_fake()]
    os.kill(orphan, signal.SIGINT)
    deadline = time.time() + 300
    while is_busy(place) and time.time() < deadline:
        time.sleep(0.05)
    assert run_cell(place) == OK


def _children_of_this_fake() -> list[str]:
    """Processes that run the fake command of this test file."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if FAKE[1] in words and "train" in words and "-c" not in words:
            found.append(entry.name)
    return found


def test_a_lock_is_waited_for_and_told(tmp_path: Path) -> None:
    told = []
    with locked(tmp_path / "lock"), pytest.raises(Locked), locked(tmp_path / "lock", wait=False):
        pass
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from omnikit.data.locks import locked\n"
            "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(0.5)",
            str(tmp_path / "lock"),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with locked(tmp_path / "lock", waiting=lambda: told.append(1)):
        assert told == [1]
    holder.wait()


def test_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_leaves_nothing_half_written_and_the_cell_goes_on_later(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Room for fewer and fewer files: wherever it ends, the cell fails in order, and all that is there is whole."""
    sync, left = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    plan = plan_of_cells(1)
    for room in range(5):
        sweep = tmp_path / str(room)
        place = sweep / plan.cells[0].folder
        prepare(sweep, plan.cells[0].document(), plan.cells[0].folder)
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", fsync)
            left[0] = room
            assert run_cell(place) == FAILED
        assert "No space left on device" in capsys.readouterr().err and not is_done(place) and not is_busy(place)
        for path in sweep.rglob("*.json"):
            json.loads(path.read_text())
        assert not [path for path in sweep.rglob("*") if path.name.endswith(".tmp")]
        assert run_cell(place) == OK and is_done(place), room


def test_a_broken_run_is_named_with_what_to_do(tmp_path: Path, log: Path) -> None:
    place, other = two_cells(tmp_path)
    assert run_cell(place) == OK
    state = tmp_path / "shared" / "same" / "tokenizer" / "state.json"
    state.write_text('{"finis')
    assert run_cell(other) == FAILED
    why = read_status(other)["exception"]
    assert f"The run in {state.parent} is broken" in why and "Remove that folder" in why
    shutil.rmtree(state.parent)
    assert run_cell(other) == OK
    assert is_done(place), "what was judged before stays"
