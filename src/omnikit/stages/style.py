"""Stage `style`: a style module learns the style space of a trained detokenizer."""

from __future__ import annotations

from typing import Any

import torch

from omnikit.data.style_batches import StyleBatch
from omnikit.slots.style import LearnedStyle
from omnikit.stages.base import Stage
from omnikit.stages.draws import generator
from omnikit.stages.optim import Optim
from omnikit.types import Losses


class StyleStage(Stage):
    """Trains the style module's own objective on reference vectors, labels and descriptions."""

    def __init__(self, style: LearnedStyle, optim: Optim, *, seed: int) -> None:
        super().__init__()
        self.style, self.optim, self.seed = style, optim, seed

    def training_step(self, batch: StyleBatch, index: int) -> torch.Tensor:
        """One step on a batch of examples; its noise depends on the seed and its number alone."""
        return self.checked(self._losses(batch))

    def validation_step(self, batch: StyleBatch, index: int) -> None:
        """Logs the loss on recordings that training has not heard, in wordings that it has not read."""
        losses = self._losses(batch)
        shown = {"loss": losses.total, **losses.parts}
        self.log_dict({f"valid_{name}": value for name, value in shown.items()}, batch_size=len(batch.labels))

    def _losses(self, batch: StyleBatch) -> Losses:
        with torch.autocast(self.device.type, enabled=False):  # vectors are few and differ little
            return self.style.loss(batch.vectors, batch.labels, batch.texts, generator(self.seed, batch.step))

    def configure_optimizers(self) -> Any:
        """AdamW with the stage's schedule."""
        optimizer, schedule = self.optim.build([item for item in self.parameters() if item.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
