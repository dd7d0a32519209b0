"""Stage `tokenizer`: supervised training of a speech tokenizer through its bottleneck (EMOVA §3.2: CTC on phones)."""

from __future__ import annotations

from typing import Any

import torch

from omnikit.data.speech_batches import SpeechBatch
from omnikit.metrics.rates import edit_distance
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.stages.base import Stage
from omnikit.stages.optim import Optim


class TokenizerStage(Stage):
    """Trains the tokenizer's own supervised objective; validates by phone error rate."""

    def __init__(self, tokenizer: SpeechTokenizer, optim: Optim) -> None:
        super().__init__()
        self.tokenizer, self.optim = tokenizer, optim
        self._errors, self._phones = 0, 0

    def training_step(self, batch: SpeechBatch, index: int) -> torch.Tensor:
        """One step on a batch of labelled utterances."""
        return self.checked(self.tokenizer.loss(batch.audio, batch.phones, batch.phone_lengths))

    def validation_step(self, batch: SpeechBatch, index: int) -> None:
        """Counts phone errors of what is read back from the units."""
        for row, length, read in zip(
            batch.phones.tolist(), batch.phone_lengths.tolist(), self.tokenizer.read_phones(batch.audio), strict=True
        ):
            self._errors += edit_distance(row[:length], read)
            self._phones += length

    def on_validation_epoch_end(self) -> None:
        """Logs the phone error rate."""
        self.log("valid_per", self._errors / max(1, self._phones), prog_bar=True)
        self._errors, self._phones = 0, 0

    def configure_optimizers(self) -> Any:
        """AdamW with the stage's schedule."""
        optimizer, schedule = self.optim.build([p for p in self.tokenizer.parameters() if p.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
