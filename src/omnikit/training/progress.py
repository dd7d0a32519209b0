"""Progress a person can read: a live line on a terminal, a plain one every half minute elsewhere; timed checkpoints."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import torch

from omnikit.artefacts import read_checkpoint
from omnikit.errors import OmnikitError
from omnikit.nn.processes import sum_over_processes
from omnikit.stages.finite import listed, not_finite
from omnikit.training.zero import OWN


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


class Lines(lightning.Callback):
    """Prints step, loss, rate and time left, at most once in `every_s` seconds (on a terminal one line, kept live)."""

    def __init__(self, name: str, num_steps: int, start: int, every_s: float = 30.0) -> None:
        self.name, self.num_steps, self.start = name, num_steps, start
        self.live = sys.stderr.isatty()
        self.every_s = 0.5 if self.live else every_s
        self.began = self.last = time.time()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Print when it is time."""
        now, done = time.time(), batch_idx + 1
        if now - self.last < self.every_s and done < self.num_steps:
            return
        self.last = now
        rate = (done - self.start) / max(1e-9, now - self.began)
        left = (self.num_steps - done) / max(1e-9, rate)
        values = "  ".join(
            f"{name} {float(value):.3f}"
            for name, value in sorted(trainer.progress_bar_metrics.items())
            if name != "v_num"
        )
        text = f"{self.name}  step {done}/{self.num_steps}  {values}  {rate:.2f} steps/s  {_clock(left)} left"
        print(
            f"\r\x1b[K{text}" if self.live else text,
            end="" if self.live and done < self.num_steps else "\n",
            file=sys.stderr,
            flush=True,
        )


class Saver(lightning.Callback):
    """Saves Lightning's checkpoint for resuming every `minutes`, through a temporary file.

    Of several processes the first decides when, and writes. Weights that are no numbers are never saved: the
    checkpoint before them stays, and no parts are made of them.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.seconds, self.last = path, 60 * minutes, time.time()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save when it is time."""
        due = time.time() - self.last >= self.seconds
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)
        if due:
            self.save(trainer)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Refuse to end with weights that are no numbers."""
        self._check(trainer)

    def save(self, trainer: Any) -> None:
        """Save now. Raises `OmnikitError` instead where a weight is NaN or infinite, in any process."""
        self._check(trainer)
        staging = self.path.with_suffix(".tmp")
        trainer.save_checkpoint(staging)
        if trainer.is_global_zero:
            if self.path.is_dir():
                shutil.rmtree(self.path)
            os.replace(staging, self.path)
        self.last = time.time()

    def _check(self, trainer: Any) -> None:
        module = trainer.lightning_module
        broken = not_finite(module.named_parameters())
        count = sum_over_processes(torch.tensor(len(broken), device=module.device))
        if not int(count):
            return
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        kept = f"{self.path} is from before." if self.path.exists() else "Nothing was saved before."
        raise OmnikitError(
            f"After {done} batches the weights are no longer finite: {listed(broken) or 'in another process'}.\n"
            f"They are not saved. {kept}\n"
            "Go on from there with a lower learning rate or in float32 (trainer.precision=32-true)."
        )


def read_saved(path: Path) -> dict[str, Any]:
    """What a run left in its checkpoint, which is a file, or of DeepSpeed a folder with a file of omnikit's."""
    return read_checkpoint(path / OWN if path.is_dir() else path)


def remove_saved(path: Path) -> None:
    """Remove a checkpoint, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
