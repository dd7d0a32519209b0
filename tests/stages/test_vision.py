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


def test_a_cell_is_read_from_its_own_patches() -> None:
    stage = make(patch_size=8)
    marks = torch.arange(64.0).view(1, 64, 1).expand(1, 64, 64)  # every patch holds its number
    stage.vision_encoder.encode = lambda _: type("F", (), {"features": marks})
    with torch.no_grad():
        for head in stage.heads.values():
            head.weight.fill_(1 / 64)
            head.bias.zero_()
        read = stage.read(torch.zeros(1, 3, 64, 64))["shape"][0, :, 0]
    assert read.tolist() == pytest.approx([13.5, 17.5, 45.5, 49.5])  # means of the 4 x 4 quarters of 8 x 8


def test_it_learns_what_lies_where() -> None:
    stage = make()
    optimizer = stage.configure_optimizers()["optimizer"]
    batch = SceneBatches(batch_size=16, num_batches=1, seed=0)[0]
    before = accuracy(stage.read(batch.pixels), batch.labels)
    for _ in range(60):
        optimizer.zero_grad()
        stage.training_step(batch, 0).backward()
        optimizer.step()
    after = accuracy(stage.read(batch.pixels), batch.labels)
    assert min(after.values()) > 0.9 and before["shape"] < 0.6


def test_an_encoder_whose_patches_cross_the_cells_is_refused() -> None:
    with pytest.raises(OmnikitError, match="gives 9 patches"):
        make(image_size=48)


def test_only_the_encoder_is_kept() -> None:
    stage = make()
    assert {name.split(".")[0] for name in stage.state_dict()} == {"vision_encoder", "heads"}
    assert stage.vision_encoder.encode(Images(torch.rand(1, 3, 64, 64))).features.shape == (1, 16, 64)
