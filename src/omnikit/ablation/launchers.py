"""Where cells run: processes here, workers of joblib, tasks of Ray, or jobs of a cluster through submitit.

A launcher takes the folders of cells and gives back each with how its process ended, as soon as it ended. It starts
`omnikit ablate --cell FOLDER` and knows nothing else of a cell: all state is on disk.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from omnikit.ablation.cell import PREEMPTED
from omnikit.ablation.processes import GRACE_S, stop, tied
from omnikit.errors import OmnikitError, unknown_name

POLL_S = 0.2
CELL_GRACE_S = GRACE_S + 10.0
"""A cell gives its command that time, and needs a moment itself."""
CELLS_AT_ONCE = 4
"""Cells that share the cores of a machine, at most, where nobody says how many."""


class Launcher(Protocol):
    """Something that runs cells."""

    def run(self, folders: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Run the cells; yields (folder, exit code) as they end. Closing the iterator stops what still runs."""


def words_of(folder: Path) -> list[str]:
    """The command that runs a cell."""
    return [sys.executable, "-m", "omnikit", "ablate", "--cell", str(folder)]


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cells_at_once(gpus: Sequence[int | str], has_accelerator: bool) -> int:
    """How many cells run at a time where nobody says: one for every GPU that is named, else as the cores allow.

    An accelerator that nobody names has one cell at a time.
    """
    if gpus or has_accelerator:
        return max(1, len(gpus))
    return min(num_cores(), CELLS_AT_ONCE)


def environment(slot: int, jobs: int, gpus: Sequence[int | str], threads: int | None) -> dict[str, str]:
    """What the process in place `slot` of `jobs` finds in its environment: its share of the cores, and its GPU."""
    found = dict(os.environ)
    share = threads or (num_cores() // jobs if jobs > 1 and "OMP_NUM_THREADS" not in found else None)
    if share is not None:
        found["OMP_NUM_THREADS"] = str(max(1, share))
    if gpus:
        found["CUDA_VISIBLE_DEVICES"] = str(gpus[slot % len(gpus)])
    return found


@dataclass(frozen=True)
class Local:
    """Processes on this machine, `jobs` at a time; each sees one of `gpus` where some are named."""

    jobs: int = 1
    gpus: Sequence[int | str] = ()
    threads: int | None = None

    def run(self, folders: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Start the next cell as soon as a place is free."""
        waiting = list(reversed(folders))
        jobs = min(self.jobs, len(waiting))
        running: dict[int, tuple[Path, subprocess.Popen[bytes]]] = {}
        try:
            while waiting or running:
                for slot in range(jobs):
                    if waiting and slot not in running:
                        folder = waiting.pop()
                        running[slot] = (folder, start(folder, environment(slot, jobs, self.gpus, self.threads)))
                ended = [slot for slot, (_, process) in running.items() if process.poll() is not None]
                if not ended:
                    time.sleep(POLL_S)
                for slot in ended:
                    folder, process = running.pop(slot)
                    yield folder, int(process.returncode)
        finally:
            stop([process for _, process in running.values()], CELL_GRACE_S)


def start(folder: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The process of a cell, which ends with this one and writes what it says into `process.txt`."""
    with (folder / "process.txt").open("ab") as log:
        return subprocess.Popen(
            words_of(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=tied(variables),
            start_new_session=True,
        )


def run_here(folder: Path, variables: Mapping[str, str]) -> tuple[Path, int]:
    """Run a cell as a process and wait for it; where the waiting is broken off, the cell saves and ends first."""
    process = start(folder, {**os.environ, **variables})
    try:
        return folder, process.wait()
    finally:
        stop([process], CELL_GRACE_S)


@dataclass(frozen=True)
class Joblib:
    """Workers of joblib, `jobs` at a time, with any backend that is registered there (loky, threading, dask, ray)."""

    jobs: int = 1
    backend: str | None = None

    def run(self, folders: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Hand every cell to a worker."""
        joblib = _library("joblib", "joblib")
        variables = {name: value for name, value in environment(0, self.jobs, (), None).items() if "THREADS" in name}
        pool = joblib.Parallel(n_jobs=self.jobs, backend=self.backend, return_as="generator_unordered")
        yield from pool(joblib.delayed(run_here)(folder, variables) for folder in folders)


@dataclass(frozen=True)
class Ray:
    """Tasks of Ray, `jobs` at a time, each with so many cores and GPUs of the cluster at `address`.

    None is the cluster that RAY_ADDRESS names, else one of this machine alone. Folders must lie where all machines of
    the cluster find them under the same name.
    """

    jobs: int = 1
    address: str | None = None
    num_cpus: float = 1
    num_gpus: float = 0

    def run(self, folders: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Start the next cell as soon as one has ended; cells whose machine was lost count as preempted."""
        ray = _library("ray", "ray")
        if not ray.is_initialized():
            ray.init(address=self.address, log_to_driver=False)
        task = ray.remote(run_here).options(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=0)
        waiting = list(reversed(folders))
        running: dict[Any, Path] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    folder = waiting.pop().resolve()
                    running[task.remote(folder, {})] = folder
                for ended in ray.wait(list(running), num_returns=1)[0]:
                    yield running.pop(ended), _task_code(ray, ended)
        finally:
            for left in running:
                ray.cancel(left)


def _task_code(ray: ModuleType, task: Any) -> int:
    """How a task of Ray ended. Raises `OmnikitError` where it could not even start a process."""
    try:
        return int(ray.get(task)[1])
    except ray.exceptions.RayTaskError as error:
        raise OmnikitError(
            f"A task of Ray cannot run its cell: {error.cause!s}\n"
            "All machines of the cluster need omnikit, and the sweep's folder under the same name."
        ) from error
    except ray.exceptions.RayError:
        return PREEMPTED


class CellJob:
    """A cell as a job of submitit; one that is preempted puts itself into the queue again."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, folder: str) -> int:
        """Run the cell; what it says goes to the log of the job."""
        self.process = subprocess.Popen(words_of(Path(folder)), stdin=subprocess.DEVNULL, env=tied(os.environ))
        return self.process.wait()

    def checkpoint(self, folder: str) -> Any:
        """What submitit calls when the place is wanted back: let the cell save, and ask for another turn."""
        if self.process is not None:
            stop([self.process], CELL_GRACE_S)
        return _library("submitit", "submitit").helpers.DelayedSubmission(CellJob(), folder)


@dataclass(frozen=True)
class Submitit:
    """Jobs of a cluster: one array, `jobs` of it at a time; `parameters` go to submitit (partition, timeout …).

    `cluster` is slurm, local (processes, for trying out) or debug; None lets submitit look for one.
    """

    folder: Path
    jobs: int = 1
    cluster: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    poll_s: float = 2.0

    def run(self, folders: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Submit all cells and report each as its job ends; jobs still there when the iterator closes are cancelled."""
        submitit = _library("submitit", "submitit")
        executor = submitit.AutoExecutor(folder=str(self.folder), cluster=self.cluster)
        chosen = dict(self.parameters)
        if executor.cluster == "slurm":
            chosen.setdefault("slurm_array_parallelism", self.jobs)
        try:
            executor.update_parameters(**chosen)
        except (NameError, TypeError, ValueError) as error:
            raise OmnikitError(f"submitit refuses launcher.parameters: {str(error).splitlines()[0]}") from error
        jobs = dict(zip(folders, executor.map_array(CellJob(), [str(folder) for folder in folders]), strict=True))
        try:
            while jobs:
                for folder in [folder for folder, job in jobs.items() if job.done()]:
                    yield folder, _code(jobs.pop(folder))
                if jobs:
                    time.sleep(self.poll_s)
        finally:
            for job in jobs.values():
                job.cancel()


def _code(job: Any) -> int:
    """How a job of submitit ended; one that the cluster killed counts as preempted."""
    try:
        return int(job.result())
    except Exception:  # a job that left no result fails with whatever its executor makes of it
        return PREEMPTED


def make_launcher(node: Mapping[str, Any], sweep: Path) -> Launcher:
    """The launcher of a config node. Raises `OmnikitError` for an unknown one, or one whose library is missing."""
    name, jobs = node["name"], node["jobs"]
    if not isinstance(jobs, int) or jobs < 1:
        raise OmnikitError(f"launcher.jobs={jobs} is no number of cells at a time; give 1 or more.")
    if name == "local":
        return Local(jobs, tuple(node["gpus"]), node["threads"])
    if name == "joblib":
        _library("joblib", "joblib")
        return Joblib(jobs, node["backend"])
    if name == "ray":
        _library("ray", "ray")
        return Ray(jobs, node["address"], node["num_cpus"], node["num_gpus"])
    if name == "submitit":
        _library("submitit", "submitit")
        return Submitit(sweep / "submitit", jobs, node["cluster"], _set(node["parameters"]))
    raise unknown_name("launcher", str(name), ("local", "joblib", "ray", "submitit"))


def _library(module: str, distribution: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise OmnikitError(
            f"launcher={module} needs {distribution}, which is not installed ({error}).\n"
            f"Install it (pip install {distribution}), or use launcher=local launcher.jobs=2."
        ) from error


def _set(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
