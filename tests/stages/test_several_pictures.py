"""The language stages with several pictures in a turn, and with pictures that are read in slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from omnikit.backbones.hf_causal import HFCausal
from omnikit.data.language_batches import LanguageSample, UserInput, language_samples, read_batch
from omnikit.formats.json import JsonFormat
from omnikit.nn.picture_sizes import AnyRes
from omnikit.projectors.mlp import MLPProjector
from omnikit.stages.language import LanguageStage, prompt_of
from omnikit.stages.optim import Optim
from omnikit.vision_encoders.timm import TimmEncoder

UNITS: dict[str, Any] = {"codebooks": [16], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
SHAPES = {"wide.png": (40, 16), "tall.png": (8, 30), "square.png": (24, 24)}
TILE = 4


def make(root: Path, max_tiles: int) -> LanguageStage:
    torch.manual_seed(0)
    encoder = TimmEncoder(image_size=16, patch_size=8, dim=12, depth=1, heads=2, max_tiles=max_tiles)
    backbone = HFCausal(hidden=32, layers=1, heads=2, kv_heads=1, intermediate=32, max_positions=256, **UNITS)
    rates = {"vision_encoder": 1e-2, "projector": 1e-2, "backbone": 1e-2}
    optim = Optim(lr=1e-2, steps=9, warmup_steps=1)
    stage = LanguageStage(
        encoder, MLPProjector(in_dim=12, out_dim=32), backbone, JsonFormat(), optim, rates, image_root=root
    )
    stage.log = stage.log_dict = lambda *_, **__: None
    return stage


def samples(root: Path) -> list[LanguageSample]:
    draw = np.random.default_rng(0)
    for name, (width, height) in SHAPES.items():
        Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(root / name)
    pair = {"role": "user", "images": [{"path": "wide.png"}, {"path": "tall.png"}], "text": "which is wide"}
    records = [
        {"id": "a", "messages": [pair, {"role": "assistant", "text": "the first"}]},
        {"id": "b", "messages": [{"role": "user", "image": {"path": "square.png"}, "text": "what is it"},
                                 {"role": "assistant", "text": "a square"}]},
    ]  # fmt: skip
    return language_samples(records, ["dialogue"], {})["dialogue"]


@pytest.mark.parametrize(("max_tiles", "positions"), [(1, (4, 4, 4)), (4, (16, 12, 20))])
def test_pictures_take_the_positions_that_were_counted(
    tmp_path: Path, max_tiles: int, positions: tuple[int, ...]
) -> None:
    chosen, stage = samples(tmp_path), make(tmp_path, max_tiles)
    assert isinstance(stage.image_size, AnyRes) is (max_tiles > 1)
    batch = read_batch(tmp_path, chosen, stage.image_size)
    seen = stage.see(batch)
    assert {name: len(rows) for name, rows in seen.items()} == dict(zip(SHAPES, positions, strict=True))
    assert [stage.image_positions(name) for name in SHAPES] == list(positions)
    shown = [segment.frames for segment in prompt_of(chosen[0], seen, stage.format) if segment.frames is not None]
    assert [len(frames) for frames in shown] == list(positions[:2])
    assert torch.equal(shown[0], seen["wide.png"]) and torch.equal(shown[1], seen["tall.png"])


def test_slices_are_the_whole_picture_and_one_map_of_its_tiles(tmp_path: Path) -> None:
    (chosen, _), stage = samples(tmp_path), make(tmp_path, 4)
    batch = read_batch(tmp_path, [chosen], stage.image_size)
    assert batch.images.grids == ((3, 1), (1, 2)) and batch.images.pixels.shape == (7, 3, 16, 16)
    with torch.no_grad():
        each = stage.projector.project(stage.vision_encoder.encode(batch.images)).features  # [S, N, W]
        wide = stage.see(batch)["wide.png"]
    torch.testing.assert_close(wide[:TILE], each[0])
    first_row = torch.cat([each[1][:2], each[2][:2], each[3][:2]])
    torch.testing.assert_close(wide[TILE : TILE + 6], first_row)


@pytest.mark.parametrize("max_tiles", [1, 4])
def test_they_are_learnt_from_end_to_end(tmp_path: Path, max_tiles: int) -> None:
    chosen, stage = samples(tmp_path), make(tmp_path, max_tiles)
    batch = read_batch(tmp_path, chosen, stage.image_size)
    together = stage.losses(batch)
    alone = [stage.losses(read_batch(tmp_path, [sample], stage.image_size)) for sample in chosen]
    assert min(float(one.total) for one in alone) < float(together.total) < max(float(one.total) for one in alone)
    optimizer = stage.configure_optimizers()["optimizer"]
    for step in range(6):
        optimizer.zero_grad()
        loss = stage.training_step(batch, step)
        loss.backward()
        assert stage.vision_encoder.net.patch_embed.proj.weight.grad.any()
        optimizer.step()
    assert float(loss) < 0.95 * float(together.total)


def test_what_is_shown_first_stays_first(tmp_path: Path) -> None:
    (chosen, _), stage = samples(tmp_path), make(tmp_path, 4).eval()
    turned = LanguageSample("dialogue", UserInput(chosen.user.images[::-1], text=chosen.user.text), chosen.text)
    losses = [stage.losses(read_batch(tmp_path, [sample], stage.image_size)).total for sample in (chosen, turned)]
    assert losses[0] != losses[1]
