"""The language stages with pictures that keep their sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from omnikit.backbones.hf_causal import HFCausal
from omnikit.data.language_batches import LanguageSample, UserInput, read_batch
from omnikit.formats.json import JsonFormat
from omnikit.projectors.mlp import MLPProjector
from omnikit.stages.language import LanguageStage
from omnikit.stages.optim import Optim
from omnikit.vision_encoders.qwen2_vit import Qwen2ViT

UNITS: dict[str, Any] = {"codebooks": [16], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
SHAPES = {"wide.png": (40, 16), "square.png": (24, 24), "small.png": (16, 8)}


def make(root: Path) -> LanguageStage:
    torch.manual_seed(0)
    encoder = Qwen2ViT(dim=16, depth=1, heads=2, out_dim=12, patch_size=4, min_pixels=64, max_pixels=4096)
    backbone = HFCausal(hidden=32, layers=1, heads=2, kv_heads=1, intermediate=32, max_positions=128, **UNITS)
    optim = Optim(lr=1e-3, steps=2)
    rates = {"vision_encoder": 1e-3, "projector": 1e-3, "backbone": 1e-3}
    stage = LanguageStage(
        encoder, MLPProjector(in_dim=12, out_dim=32), backbone, JsonFormat(), optim, rates, image_root=root
    )
    stage.log = stage.log_dict = lambda *_, **__: None
    return stage


def samples(root: Path) -> list[LanguageSample]:
    draw = np.random.default_rng(0)
    for name, (width, height) in SHAPES.items():
        Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(root / name)
    return [LanguageSample("caption", UserInput((name,)), "a star") for name in SHAPES]


def test_every_picture_takes_the_positions_that_were_counted(tmp_path: Path) -> None:
    chosen, stage = samples(tmp_path), make(tmp_path)
    batch = read_batch(tmp_path, chosen, stage.image_size)
    assert batch.images.sizes == ((16, 40), (24, 24), (8, 16))
    assert {path: len(rows) for path, rows in stage.see(batch).items()} == {
        "wide.png": 10,
        "square.png": 9,
        "small.png": 2,
    }
    counted = [stage.count(sample) for sample in chosen]
    assert [counted[0] - counted[1], counted[1] - counted[2]] == [1, 7]


def test_they_teach_as_they_do_alone(tmp_path: Path) -> None:
    chosen, stage = samples(tmp_path), make(tmp_path)
    together = stage.losses(read_batch(tmp_path, chosen, stage.image_size)).total
    alone = [stage.losses(read_batch(tmp_path, [sample], stage.image_size)).total for sample in chosen]
    torch.testing.assert_close(together, torch.stack(alone).mean(), atol=1e-5, rtol=1e-5)
    together.backward()
    assert stage.vision_encoder.net.patch_embed.proj.weight.grad.any()


def test_a_batch_without_pictures_runs_no_encoder(tmp_path: Path) -> None:
    stage = make(tmp_path)
    batch = read_batch(tmp_path, [LanguageSample("asr", UserInput(units=((1, 2),)), "a star")], stage.image_size)
    assert batch.images.sizes == () and stage.see(batch) == {}
    assert stage.losses(batch).total.isfinite()
