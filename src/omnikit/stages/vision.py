"""Stage `vision`: dense supervised pre-training of a vision encoder on drawn scenes.

The tiny system's stand-in for a downloaded encoder: linear heads name, from every single patch, what lies in its cell
of the picture and which cell that is. What and where are then in one vector, so that a language model can look one up
by the other. The heads are thrown away afterwards.
Letters: B batch, C cells, N patches, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnikit.data.scene_batches import CLASSES, NOTHING, SceneBatch
from omnikit.data.scenes import CELLS, IMAGE_SIZE
from omnikit.errors import OmnikitError
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.stages.base import Stage
from omnikit.stages.optim import Optim
from omnikit.types import Images, Losses


class VisionStage(Stage):
    """Cross-entropy of shape (or empty), color and size of the patch's cell, and of its place, from every patch.

    Raises `OmnikitError` for an encoder whose patches do not divide into 2 x 2 cells.
    """

    patch_cells: Tensor

    def __init__(self, vision_encoder: VisionEncoder, optim: Optim) -> None:
        super().__init__()
        self.vision_encoder, self.optim = vision_encoder, optim
        frames = vision_encoder.contract(**vision_encoder.parameters_given).gives["frames"]
        length = vision_encoder.num_positions(IMAGE_SIZE, IMAGE_SIZE)
        side, cells = math.isqrt(length), math.isqrt(len(CELLS))
        if side**2 != length or side % cells:
            raise OmnikitError(
                f"The vision stage needs a square of patches that divides into {cells} x {cells} cells; "
                f"this encoder gives {length} patches."
            )
        line = torch.arange(side) * cells // side  # [√N]: row (or column) of cells
        patch_cells = (line[:, None] * cells + line).flatten()  # [N]
        self.register_buffer("patch_cells", patch_cells, persistent=False)
        self.heads = nn.ModuleDict({name: nn.Linear(frames.dim, size) for name, size in CLASSES.items()})

    def read(self, pixels: Tensor) -> dict[str, Tensor]:
        """Scores [B, N, classes] of every patch by name of CLASSES."""
        features = self.vision_encoder.encode(Images(pixels)).features  # [B, N, D]
        return {name: head(features) for name, head in self.heads.items()}

    def labels(self, batch: SceneBatch) -> dict[str, Tensor]:
        """The labels [B, N] of every patch: those of its cell."""
        return {name: labels[:, self.patch_cells] for name, labels in batch.labels.items()}

    def training_step(self, batch: SceneBatch, index: int) -> Tensor:
        """One step on labelled scenes."""
        scores, labels = self.read(batch.pixels), self.labels(batch)
        parts = {
            name: F.cross_entropy(each.flatten(0, 1).float(), labels[name].flatten(), ignore_index=NOTHING)
            for name, each in scores.items()
        }
        return self.checked(Losses(torch.stack(list(parts.values())).sum(), parts))

    def validation_step(self, batch: SceneBatch, index: int) -> None:
        """Logs the share of patches that name their cell right."""
        shares = accuracy(self.read(batch.pixels), self.labels(batch))
        self.log_dict({f"valid_{name}": share for name, share in shares.items()}, batch_size=len(batch.pixels))

    def configure_optimizers(self) -> Any:
        """AdamW with the stage's schedule over encoder and head."""
        optimizer, schedule = self.optim.build([item for item in self.parameters() if item.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def accuracy(scores: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of right answers by name, over the places that have a label."""
    shares = {}
    for name, each in scores.items():
        there = labels[name] != NOTHING
        shares[name] = float((each.argmax(dim=-1) == labels[name])[there].float().mean())
    return shares
