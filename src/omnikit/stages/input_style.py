"""Stage `input_style`: an input style learns to name how recordings are said."""

from __future__ import annotations

from typing import Any

import torch

from omnikit.data.tone_batches import ToneBatch
from omnikit.slots.input_style import LearnedInputStyle
from omnikit.stages.base import Stage
from omnikit.stages.optim import Optim
from omnikit.types import Losses


class InputStyleStage(Stage):
    """Trains the input style's own objective on recordings and the labels of their style."""

    def __init__(self, input_style: LearnedInputStyle, optim: Optim) -> None:
        super().__init__()
        self.input_style, self.optim = input_style, optim

    def training_step(self, batch: ToneBatch, index: int) -> torch.Tensor:
        """One step on a batch of recordings."""
        return self.checked(self._losses(batch))

    def validation_step(self, batch: ToneBatch, index: int) -> None:
        """Logs the loss, and the share of recordings whose value of each factor is named right."""
        losses = self._losses(batch)
        shown = {"loss": losses.total, **losses.parts}
        self.log_dict({f"valid_{name}": value for name, value in shown.items()}, batch_size=len(batch.labels))

    def _losses(self, batch: ToneBatch) -> Losses:
        return self.input_style.loss(batch.audio, batch.labels)

    def configure_optimizers(self) -> Any:
        """AdamW with the stage's schedule."""
        optimizer, schedule = self.optim.build([item for item in self.parameters() if item.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
