"""Drawn scenes with a label for every cell, for dense supervised pre-training of a vision encoder.

Letters: B batch, C cells (row-major), H = W pixels.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from omnikit.data.scenes import CELLS, COLORS, SHAPES, SIZES, Scene, random_scene, render

NOTHING = -100
"""Label of what does not exist, e.g. the color of an empty cell; no loss is taken there."""
CLASSES: dict[str, int] = {"shape": len(SHAPES) + 1, "color": len(COLORS), "size": len(SIZES), "place": len(CELLS)}
"""What is told of every cell, and among how many; the first shape is an empty cell, the place is the cell itself."""


@dataclass(frozen=True)
class SceneBatch:
    """`pixels` [B, 3, H, W] in [0, 1]; `labels` of every cell by name of CLASSES, each [B, C] int64."""

    pixels: Tensor
    labels: dict[str, Tensor]


def cell_labels(scene: Scene) -> dict[str, list[int]]:
    """Class of every cell for each of CLASSES."""
    labels = {name: [NOTHING] * len(CELLS) for name in CLASSES}
    labels["shape"] = [0] * len(CELLS)
    labels["place"] = list(range(len(CELLS)))
    for item in scene.objects:
        cell = CELLS.index(item.cell)
        labels["shape"][cell] = 1 + SHAPES.index(item.shape)
        labels["color"][cell] = list(COLORS).index(item.color)
        labels["size"][cell] = SIZES.index(item.size)
    return labels


class SceneBatches(Dataset[SceneBatch]):
    """Batch number `i` of a training: `batch_size` fresh scenes, a function of seed and step alone.

    Held-out (color, shape) pairs are drawn only for `held_out`, one in every scene.
    """

    def __init__(self, *, batch_size: int, num_batches: int, seed: int, start: int = 0, held_out: bool = False) -> None:
        self.batch_size, self.num_batches, self.seed, self.start = batch_size, num_batches, seed, start
        self.held_out = held_out

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> SceneBatch:
        rng = random.Random(f"scenes/{self.seed}/{self.start + index}")
        scenes = [random_scene(rng, held_out=self.held_out) for _ in range(self.batch_size)]
        pictures = np.stack([render(scene) for scene in scenes])  # [B, H, W, 3]
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255.0  # [B, 3, H, W]
        rows = [cell_labels(scene) for scene in scenes]
        return SceneBatch(pixels.contiguous(), {name: torch.tensor([row[name] for row in rows]) for name in CLASSES})
