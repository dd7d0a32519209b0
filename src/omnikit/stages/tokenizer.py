"""Stage `tokenizer`: training of a speech tokenizer through its bottleneck (EMOVA §3.2: CTC on phones)."""

from __future__ import annotations

from typing import Any

import torch

from omnikit.data.speech_batches import SpeechBatch
from omnikit.metrics.rates import edit_distance
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.stages.base import Stage
from omnikit.stages.draws import dropout_of
from omnikit.stages.optim import Optim
from omnikit.stages.shares import counts_of_all, of_whole_batch

FIGURES = {"phones": "valid_per", "characters": "valid_cer", "nothing": "valid_loss"}
"""What validation reports, by what the tokenizer's head reads."""


class TokenizerStage(Stage):
    """Trains the tokenizer's own objective; validates by errors of what its head reads, or by the loss without one."""

    def __init__(self, tokenizer: SpeechTokenizer, optim: Optim, seed: int = 0) -> None:
        super().__init__()
        self.tokenizer, self.optim, self.seed = tokenizer, optim, seed
        self._counted = {"errors": 0.0, "labels": 0.0}

    def training_step(self, batch: SpeechBatch, index: int) -> torch.Tensor:
        """One step on a batch of labelled utterances."""
        with dropout_of(self.device, self.seed, batch.step, self.global_rank):
            losses = self.tokenizer.loss(batch.audio, batch.phones, batch.phone_lengths)
        return self.checked(of_whole_batch(losses, len(batch.rows) if batch.counts else 0))

    def validation_step(self, batch: SpeechBatch, index: int) -> None:
        """Counts errors of what is read back from the units; where nothing is read, sums up the loss of every row."""
        if not batch.counts:
            return
        if self.tokenizer.labels == "nothing":
            losses = self.tokenizer.loss(batch.audio, batch.phones, batch.phone_lengths)
            self._counted["errors"] += float(losses.total) * len(batch.rows)
            self._counted["labels"] += len(batch.rows)
            return
        for row, length, read in zip(
            batch.phones.tolist(), batch.phone_lengths.tolist(), self.tokenizer.read_labels(batch.audio), strict=True
        ):
            self._counted["errors"] += edit_distance(row[:length], read)
            self._counted["labels"] += length

    def on_validation_epoch_end(self) -> None:
        """Logs the phone (or character) error rate, or the loss."""
        counted = counts_of_all(self._counted, self.device)
        self.log(FIGURES[self.tokenizer.labels], counted["errors"] / max(1, counted["labels"]), prog_bar=True)
        self._counted = dict.fromkeys(counted, 0.0)

    def configure_optimizers(self) -> Any:
        """AdamW with the stage's schedule."""
        optimizer, schedule = self.optim.build([p for p in self.tokenizer.parameters() if p.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
