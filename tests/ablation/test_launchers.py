"""Launchers of other libraries: joblib, submitit's own executor, and SLURM with commands that only pretend."""

from __future__ import annotations

import os
import stat
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ablation.conftest import plan_of_cells

from omnikit.ablation import launchers
from omnikit.ablation.cell import PREEMPTED, SCORES, prepare
from omnikit.ablation.launchers import Joblib, Submitit, make_launcher
from omnikit.ablation.status import fresh, write_status
from omnikit.errors import OmnikitError

SUBMITIT: dict[str, Any] = {"name": "submitit", "jobs": 2, "cluster": None, "parameters": {}}
BAD_INPUT = 2

SBATCH = """
import os, pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[1])
first, last = map(int, re.search(r"--array=(\\d+)-(\\d+)", script.read_text()).groups())
for task in range(first, last + 1):
    own = {"SLURM_JOB_ID": str(77 + task), "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(task),
           "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0",
           "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here", "SLURMD_NODENAME": "here"}
    subprocess.Popen(["bash", str(script)], env={**os.environ, **own}, start_new_session=True,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 77")
"""
SRUN = """
import os, sys
words = sys.argv[1:]
while words[0].startswith("-") or not os.path.isabs(words[0]) or not os.access(words[0], os.X_OK):
    words = words[1:]
os.execv(words[0], words)
"""
SACCT = 'print("JobID|State|NodeList\\n77|RUNNING|here\\n77_0|RUNNING|here\\n77_1|RUNNING|here")'


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """A cell that is done, so that its process ends at once, and a folder that holds none, so that it fails."""
    (cell,) = plan_of_cells(1).cells
    prepare(tmp_path, cell.document(), cell.folder)
    good, bad = tmp_path / cell.folder, tmp_path / "cells" / "empty"
    (good / SCORES).write_text("")
    write_status(good, {**fresh(), "state": "done"})
    bad.mkdir()
    return [good, bad]


def test_joblib_runs_cells_in_its_workers(places: list[Path]) -> None:
    pytest.importorskip("joblib")
    assert dict(Joblib(2, "threading").run(places)) == {places[0]: 0, places[1]: BAD_INPUT}


class FakeRay:
    """As much of Ray as the launcher uses: tasks run when they are waited for, one at a time."""

    class exceptions:
        RayError = type("RayError", (Exception,), {})
        RayTaskError = type("RayTaskError", (RayError,), {"cause": FileNotFoundError("no such folder")})

    def __init__(self, lost: str = "") -> None:
        self.lost, self.asked, self.most, self.cancelled = lost, {}, 0, []
        self.address: str | None = "nowhere"

    def is_initialized(self) -> bool:
        return self.address != "nowhere"

    def init(self, address: str | None, log_to_driver: bool) -> None:
        self.address = address

    def remote(self, function: Any) -> FakeRay:
        self.function = function
        return self

    def options(self, **asked: Any) -> Any:
        self.asked = asked
        return types.SimpleNamespace(remote=lambda *words: Task(words))

    def wait(self, tasks: list[Task], num_returns: int) -> tuple[list[Task], list[Task]]:
        self.most = max(self.most, len(tasks))
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task: Task) -> Any:
        if task.words[0].name == self.lost:
            raise self.exceptions.RayError("the node died")
        if not task.words[0].is_dir():
            raise self.exceptions.RayTaskError
        return self.function(*task.words)

    def cancel(self, task: Task) -> None:
        self.cancelled.append(task.words[0])


@dataclass(frozen=True, eq=False)
class Task:
    words: tuple[Any, ...]


def test_ray_runs_cells_as_tasks_and_a_lost_machine_is_no_failure(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRay(lost="lost")
    monkeypatch.setitem(sys.modules, "ray", fake)
    node = {"name": "ray", "jobs": 2, "address": "auto", "num_cpus": 4, "num_gpus": 0.5}
    launcher = make_launcher(node, tmp_path)
    lost = tmp_path / "cells" / "lost"
    assert dict(launcher.run([*places, lost])) == {places[0]: 0, places[1]: BAD_INPUT, lost: PREEMPTED}
    assert (fake.address, fake.most, fake.cancelled) == ("auto", 2, [])
    assert fake.asked == {"num_cpus": 4, "num_gpus": 0.5, "max_retries": 0}
    with pytest.raises(OmnikitError, match="no such folder"):
        list(launcher.run([tmp_path / "elsewhere"]))
    run = launcher.run([lost, *places])
    next(run)
    run.close()
    assert fake.cancelled == places[:1], "what still runs is stopped, the rest is not begun"


def test_a_cell_whose_worker_is_interrupted_saves_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit('saved')); print(1); time.sleep(60)"
    monkeypatch.setattr(launchers, "words_of", lambda folder: [sys.executable, "-uc", code])
    wait, calls = launchers.subprocess.Popen.wait, []

    def interrupted(self: Any, timeout: float | None = None) -> int:
        calls.append(self)
        if len(calls) > 1:
            return wait(self, timeout)
        while not (tmp_path / "process.txt").read_text():
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(launchers.subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launchers.run_here(tmp_path, {})
    assert (tmp_path / "process.txt").read_text().split() == ["1", "saved"]


def test_submitit_runs_cells_as_jobs(places: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    launcher = Submitit(tmp_path / "jobs", cluster="local", poll_s=0.1)
    assert dict(launcher.run(places)) == {places[0]: 0, places[1]: BAD_INPUT}


@pytest.mark.skipif(os.name != "posix", reason="a cluster of POSIX machines")
def test_a_cluster_runs_cells_as_one_array(places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT), ("scancel", "")):
        (tools / name).write_text(f"#!{sys.executable}\n{text}\n")
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    parameters = {"slurm_partition": "gpu", "timeout_min": 7}
    launcher = make_launcher({**SUBMITIT, "cluster": "slurm", "parameters": parameters}, tmp_path)
    assert dict(launcher.run(places)) == {places[0]: 0, places[1]: BAD_INPUT}
    said = {path.read_text() for path in (tmp_path / "submitit").glob("*.sh")}
    assert len(said) == 1
    for word in ("--array=0-1%2", "--partition=gpu", "--time=7"):
        assert all(word in text for text in said), word


def test_parameters_that_submitit_does_not_know_are_refused(places: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    launcher = Submitit(tmp_path / "jobs", cluster="local", parameters={"partitio": "gpu"})
    with pytest.raises(OmnikitError, match=r"launcher\.parameters"):
        list(launcher.run(places))


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("joblib", {"name": "joblib", "jobs": 2, "backend": None}),
        ("ray", {"name": "ray", "jobs": 2, "address": None, "num_cpus": 1, "num_gpus": 0}),
        ("submitit", SUBMITIT),
    ],
)
def test_a_missing_library_is_told_with_what_to_do(
    name: str, node: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OmnikitError, match=f"pip install {name}"):
        make_launcher(node, tmp_path)


def test_a_preempted_job_stops_its_cell_and_asks_for_another_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    job = launchers.CellJob()
    monkeypatch.setattr(launchers, "words_of", lambda folder: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(launchers.subprocess.Popen, "wait", lambda self, timeout=None: self.poll())
    assert job(str(tmp_path)) is None
    assert job.process is not None and job.process.poll() is None
    monkeypatch.undo()
    again = job.checkpoint(str(tmp_path))
    assert isinstance(again, submitit.helpers.DelayedSubmission) and job.process.poll() is not None
    assert again.args == (str(tmp_path),)
