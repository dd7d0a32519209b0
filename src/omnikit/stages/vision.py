"""Stage `vision`: dense supervised pre-training of a vision encoder on drawn scenes.

The tiny system's stand-in for a downloaded encoder: a linear head names what lies in every cell of the picture, and is
thrown away afterwards.
Letters: B batch, C cells, N patches, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from einops import reduce
from torch import Tensor, nn
from torch.nn import functional as F

from omnikit.data.scene_batches import CLASSES, NOTHING, SceneBatch
from omnikit.data.scenes import CELLS
from omnikit.errors import OmnikitError
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.stages.base import Stage
from omnikit.stages.optim import Optim
from omnikit.types import Images, Losses


class VisionStage(Stage):
    """Cross-entropy of shape (or empty), color and size of every cell, read from the mean of the cell's patches.

    Raises `OmnikitError` for an encoder whose patches do not divide into 2 x 2 cells.
    """

    def __init__(self, vision_encoder: VisionEncoder, optim: Optim) -> None:
        super().__init__()
        self.vision_encoder, self.optim = vision_encoder, optim
        frames = vision_encoder.contract(**vision_encoder.parameters_given).gives["frames"]
        self.side = math.isqrt(frames.length)
        self.cells = math.isqrt(len(CELLS))
        if self.side**2 != frames.length or self.side % self.cells:
            raise OmnikitError(
                f"The vision stage needs a square of patches that divides into {self.cells} x {self.cells} cells; "
                f"this encoder gives {frames.length} patches."
            )
        self.heads = nn.ModuleDict({name: nn.Linear(frames.dim, size) for name, size in CLASSES.items()})

    def read(self, pixels: Tensor) -> dict[str, Tensor]:
        """Scores [B, C, classes] of every cell by name of CLASSES."""
        features = self.vision_encoder.encode(Images(pixels)).features  # [B, N, D]
        cells = reduce(
            features,
            "b (row y column x) d -> b (row column) d",
            "mean",
            row=self.cells,
            column=self.cells,
            y=self.side // self.cells,
        )  # [B, C, D]
        return {name: head(cells) for name, head in self.heads.items()}

    def training_step(self, batch: SceneBatch, index: int) -> Tensor:
        """One step on labelled scenes."""
        scores = self.read(batch.pixels)
        parts = {
            name: F.cross_entropy(each.flatten(0, 1).float(), batch.labels[name].flatten(), ignore_index=NOTHING)
            for name, each in scores.items()
        }
        return self.checked(Losses(torch.stack(list(parts.values())).sum(), parts))

    def validation_step(self, batch: SceneBatch, index: int) -> None:
        """Logs the share of cells named right."""
        shares = accuracy(self.read(batch.pixels), batch.labels)
        self.log_dict({f"valid_{name}": share for name, share in shares.items()}, batch_size=len(batch.pixels))

    def configure_optimizers(self) -> Any:
        """AdamW with the stage's schedule over encoder and head."""
        optimizer, schedule = self.optim.build([item for item in self.parameters() if item.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def accuracy(scores: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of right answers by name, over the cells that have a label."""
    shares = {}
    for name, each in scores.items():
        there = labels[name] != NOTHING
        shares[name] = float((each.argmax(dim=-1) == labels[name])[there].float().mean())
    return shares
