"""What a language stage has read: tokens of every source, and what was left out; and where its mixture stands."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import lightning
from torch import distributed

from omnikit.data.language_batches import LanguageBatch
from omnikit.data.packing import State
from omnikit.errors import DataError
from omnikit.nn.processes import num_processes
from omnikit.training.progress import read_saved
from omnikit.training.records import write_json

MIXTURE, CHECKPOINT, ENTRY = "mixture.json", "last.ckpt", "omnikit_mixture"
MAX_SKIPPED, MIN_SKIPPED = 0.1, 100
"""A run stops when this share of the samples, and at least so many, had to be left out."""


class Reading(lightning.Callback):
    """Counts what the batches of a training hold, and keeps the place of the mixture in checkpoints.

    When training ends, `mixture.json` of the run's folder says samples, tokens and share of every source and task, how
    full batches were, and every sample that was left out with its reason.
    """

    def __init__(self, folder: Path, batch_tokens: int, resumed: bool) -> None:
        self.folder, self.batch_tokens = folder, batch_tokens
        self.step = 0
        self.state: dict[str, State] = {}
        self.samples: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}
        if resumed:
            kept = read_saved(folder / CHECKPOINT)[ENTRY]
            self.step, self.skipped = kept["step"], dict(kept["skipped"])
            self.state = {name: tuple(own) for name, own in kept["state"].items()}
            self.samples.update(kept["samples"])
            self.tokens.update(kept["tokens"])

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: LanguageBatch, batch_idx: int) -> None:
        """Count a batch. Raises `DataError` when too much of the data cannot be used."""
        self.step, self.state = trainer.fit_loop.epoch_loop.batch_progress.current.ready, dict(batch.state)
        for source, tokens in batch.drawn:
            self.samples[source] += 1
            self.tokens[source] += tokens
        self.skipped.update((told.name, told.reason) for told in batch.skipped)
        if len(self.skipped) >= max(MIN_SKIPPED, MAX_SKIPPED * self.samples.total()):
            shown = "\n".join(f"{name}: {reason}" for name, reason in list(self.skipped.items())[-4:])
            raise DataError(
                f"{len(self.skipped)} samples could not be used, {self.samples.total()} were drawn; the last:\n{shown}"
            )

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Take the place of the mixture along."""
        checkpoint[ENTRY] = {
            "step": self.step,
            "state": {name: list(own) for name, own in self.state.items()},
            "samples": dict(self.samples),
            "tokens": dict(self.tokens),
            "skipped": self.skipped,
        }

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Write what was read."""
        if num_processes() > 1:
            found: list[Any] = [None] * num_processes()
            distributed.all_gather_object(found, self.skipped)  # each process has read files of its own
            self.skipped = {name: reason for own in found for name, reason in own.items()}
        if not trainer.is_global_zero:
            return
        write_json(self.folder / MIXTURE, self.report())
        if self.skipped:
            print(f"{len(self.skipped)} samples were left out: {self.folder / MIXTURE}", file=sys.stderr)

    def report(self) -> dict[str, Any]:
        """Samples, tokens and shares so far."""
        whole = max(self.tokens.total(), 1)
        tasks: Counter[str] = Counter()
        for source, tokens in self.tokens.items():
            tasks[source.partition("/")[0]] += tokens
        return {
            "tasks": {task: round(tokens / whole, 4) for task, tokens in tasks.items()},
            "sources": {
                source: {"samples": self.samples[source], "tokens": tokens, "share": round(tokens / whole, 4)}
                for source, tokens in self.tokens.items()
            },
            "batches_full": round(whole / (max(self.step, 1) * self.batch_tokens), 4),
            "skipped": self.skipped,
        }
