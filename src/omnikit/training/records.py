"""What a run leaves behind: its config, what it ran on, its curves, and what it cost."""

from __future__ import annotations

import csv
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml

from omnikit.training.flops import FlopCount, can_count

LIBRARIES = (
    "torch",
    "lightning",
    "transformers",
    "timm",
    "hydra-core",
    "numpy",
    "soundfile",
    "safetensors",
    "espeakng-loader",
)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".tmp")
    staging.write_text(json.dumps(value, indent=1, default=str) + "\n")
    os.replace(staging, path)


def start_record(folder: Path, config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Write `config.yaml` and `run.json`: the resolved config, versions, seed, data identity and command."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
    versions = {name: metadata.version(name) for name in LIBRARIES}
    record = {
        "command": " ".join(sys.argv),
        "seed": config.get("seed"),
        "data": dict(data),
        "python": platform.python_version(),
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "gpu": _gpu()},
        "versions": versions,
    }
    write_json(folder / "run.json", record)


def _gpu() -> str | None:
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


class Curves(lightning.Callback):
    """Appends logged values to `curves.csv` (long form: step, seconds, name, value) every `every` steps."""

    def __init__(self, folder: Path, every: int) -> None:
        self.path, self.every = folder / "curves.csv", every
        self.started = time.time()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write the values of this step."""
        if (batch_idx + 1) % self.every == 0:
            learnt = {name: value for name, value in trainer.logged_metrics.items() if not name.startswith("valid")}
            self._write(batch_idx + 1, learnt)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Write validation values, those that the module logs at the end of the epoch among them."""
        if not trainer.sanity_checking:
            judged = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("valid")}
            self._write(trainer.fit_loop.epoch_loop.batch_progress.current.ready, judged)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", "name", "value"])
            for name, value in values.items():
                writer.writerow([step, f"{time.time() - self.started:.1f}", name, f"{float(value):.6g}"])


class Cost(lightning.Callback):
    """Writes `cost.json`: wall and process time, steps, parameters, peak memory; summed over resumed runs.

    `flops_per_step` is counted while the first step of a run runs; it is null where that cannot be (`training.flops`).
    """

    def __init__(self, folder: Path, module: torch.nn.Module) -> None:
        self.path, self.module = folder / "cost.json", module
        self.before = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.wall, self.cpu, self.steps = time.time(), time.process_time(), 0
        self.flops: int | None = self.before.get("flops_per_step")
        self.counter: FlopCount | None = None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Begin to count operations, once a run."""
        if self.flops is None and self.steps == 0 and can_count(trainer, module):
            self.counter = FlopCount().__enter__()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count a step."""
        self.steps += 1
        if self.counter is not None:
            self.flops = self._counted()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Count no further where the first step did not end."""
        if self.counter is not None:
            self._counted()

    def _counted(self) -> int:
        """What was counted until now; nothing more is."""
        assert self.counter is not None
        self.counter.__exit__(None, None, None)
        counter, self.counter = self.counter, None
        return counter.total

    def write(self) -> dict[str, Any]:
        """The cost so far, also written to disk."""
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        cost = {
            "wall_s": round(self.before.get("wall_s", 0) + time.time() - self.wall, 1),
            "process_s": round(self.before.get("process_s", 0) + time.process_time() - self.cpu, 1),
            "steps": self.before.get("steps", 0) + self.steps,
            "flops_per_step": self.flops,
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "trainable_parameters": sum(p.numel() for p in self.module.parameters() if p.requires_grad),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "peak_gpu_memory_mb": peak // 2**20,
        }
        write_json(self.path, cost)
        return cost
