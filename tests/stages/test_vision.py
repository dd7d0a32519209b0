"""Stage `vision`."""

from __future__ import annotations

import pytest
import torch

from omnikit.data.scene_batches import SceneBatches
from omnikit.errors import OmnikitError
from omnikit.stages.optim import Optim
from omnikit.stages.vision import VisionStage, accuracy
from omnikit.types import Images
from omnikit.vision_encoders.timm import TimmEncoder

OPTIM = Optim(lr=2e-3, steps=60, warmup_steps=5)


def make(**parameters: int) -> VisionStage:
    torch.manual_seed(0)
    stage = VisionStage(TimmEncoder(**{"dim": 64, "depth": 2, "heads": 2, **parameters}), OPTIM)
    stage.log = stage.log_dict = lambda *_, **__: None
    return stage


def test_a_patch_is_labelled_by_its_own_cell() -> None:
    batch = SceneBatches(batch_size=3, num_batches=1, seed=0)[0]
    labels = make(patch_size=8).labels(batch)
    assert labels["place"][0].tolist() == 4 * [0, 0, 0, 0, 1, 1, 1, 1] + 4 * [2, 2, 2, 2, 3, 3, 3, 3]
    for name, cells in batch.labels.items():
        quarters = labels[name].view(3, 2, 4, 2, 4)  # [B, row, y, column, x]
        assert bool((quarters == cells.view(3, 2, 1, 2, 1)).all())


def test_it_learns_what_lies_where() -> None:
    stage = make()
    optimizer = stage.configure_optimizers()["optimizer"]
    batch = SceneBatches(batch_size=16, num_batches=1, seed=0)[0]
    before = accuracy(stage.read(batch.pixels), stage.labels(batch))
    for _ in range(60):
        optimizer.zero_grad()
        stage.training_step(batch, 0).backward()
        optimizer.step()
    after = accuracy(stage.read(batch.pixels), stage.labels(batch))
    assert min(after.values()) > 0.9 and before["shape"] < 0.6


def test_an_encoder_whose_patches_cross_the_cells_is_refused() -> None:
    with pytest.raises(OmnikitError, match="gives 9 patches"):
        make(image_size=48)


def test_only_the_encoder_is_kept() -> None:
    stage = make()
    assert {name.split(".")[0] for name in stage.state_dict()} == {"vision_encoder", "heads"}
    assert stage.vision_encoder.encode(Images(torch.rand(1, 3, 64, 64))).features.shape == (1, 16, 64)
