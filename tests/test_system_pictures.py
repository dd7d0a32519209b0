"""Pictures that a system is asked about: padded, several of them, in tiles; they are read as in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import omnikit
from omnikit.data.language_batches import LanguageSample, UserInput, read_batch
from omnikit.errors import OmnikitError
from omnikit.nn.picture_sizes import AnyRes, PaddedSquare
from omnikit.slots.backbone import Generated, Segment
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.stages.language import LanguageStage, prompt_of
from omnikit.stages.optim import Optim
from omnikit.system import System
from omnikit.wiring import Node

SIDE = 16
VIT: dict[str, Any] = {"image_size": SIDE, "patch_size": 8, "dim": 12, "depth": 2, "heads": 2}
UNITS: dict[str, Any] = {"codebooks": [16], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
SIZES: dict[str, Any] = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 32}
SHAPES = {"wide.png": (48, 16), "tall.png": (8, 32)}
RED = (255, 0, 0)
REPLY = '{"reply":"a star","emotion":"happy","pitch":"low","speed":"fast","units":""}'


def system_of(vision_encoder: VisionEncoder) -> System:
    torch.manual_seed(0)
    parts = {
        "vision_encoder": vision_encoder,
        "projector": omnikit.create("projector/mlp", in_dim=12, out_dim=32),
        "backbone": omnikit.create("backbone/hf_causal", **SIZES, **UNITS),
        "format": omnikit.create("format/json"),
    }
    return System.of({slot: part.eval() for slot, part in parts.items()})


def stage_of(system: System, root: Path) -> LanguageStage:
    slots = ("vision_encoder", "projector", "backbone", "format")
    stage = LanguageStage(*map(system.part, slots), Optim(lr=1e-3, steps=1), {"projector": 1e-3}, image_root=root)
    return stage.eval()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A wide picture, red, and a tall one of noise."""
    Image.new("RGB", SHAPES["wide.png"], RED).save(tmp_path / "wide.png")
    noise = np.random.default_rng(0).integers(0, 255, (*SHAPES["tall.png"][::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "tall.png")
    return [tmp_path / name for name in SHAPES]


@pytest.mark.parametrize("name", ["timm", "clip", "siglip", "intern_vit"])
@torch.no_grad()
def test_a_picture_is_padded_with_the_color_that_is_zero_to_its_encoder(name: str, pictures: list[Path]) -> None:
    plain, padding = (omnikit.create(f"vision_encoder/{name}", **VIT, image_mode=mode) for mode in ("square", "pad"))
    padding.load_state_dict(plain.state_dict())  # the same weights serve both modes
    system = system_of(padding)
    stage = stage_of(system, pictures[0].parent)
    mean = padding.mean.flatten()
    assert isinstance(stage.image_size, PaddedSquare) and stage.image_size.side == SIDE
    assert stage.image_size.fill == pytest.approx(mean.tolist())
    batch = read_batch(
        pictures[0].parent, [LanguageSample("caption", UserInput(("wide.png",)), "red")], stage.image_size
    )
    (pixels,) = batch.images.pixels
    for rows in (pixels[:, :3], pixels[:, -3:]):  # 16 of 48 rows were left, so about 5 of 16 are red
        torch.testing.assert_close(rows, mean[:, None, None].expand_as(rows), atol=1 / 255, rtol=0)
    red = torch.tensor([1.0, 0.0, 0.0])[:, None].expand(3, SIDE)
    torch.testing.assert_close(pixels[:, SIDE // 2], red)
    (seen,) = system.look(pictures[:1])
    torch.testing.assert_close(seen, stage.see(batch)["wide.png"])
    assert stage.image_positions("wide.png") == len(seen) == 4
    squeezed = system_of(plain).look(pictures[:1])[0]
    assert not torch.allclose(seen, squeezed, atol=1e-3)


def test_a_saved_encoder_keeps_its_mode_and_older_ones_are_squares(tmp_path: Path) -> None:
    system = system_of(omnikit.create("vision_encoder/clip", **VIT, image_mode="pad"))
    system.save(tmp_path)
    assert omnikit.load(str(tmp_path)).part("vision_encoder").parameters_given["image_mode"] == "pad"
    card = tmp_path / "vision_encoder" / "component.json"
    card.write_text(card.read_text().replace('"image_mode": "pad"', '"max_tiles": 1'))
    assert stage_of(System.load(tmp_path), tmp_path).image_size == SIDE


@pytest.mark.parametrize("name", ["timm", "clip", "siglip", "intern_vit"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_mode": "padd"}, "Did you mean 'pad'"),
        ({"image_mode": "pad", "max_tiles": 4}, "Set max_tiles=1, or image_mode=square"),
        ({"max_tiles": 0}, "max_tiles is 0"),
    ],
)
def test_what_is_no_mode_is_refused(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(OmnikitError, match=said):
        omnikit.create(f"vision_encoder/{name}", **{**VIT, **changes})
    with pytest.raises(OmnikitError, match=said):
        System.assemble({"vision_encoder": Node(f"vision_encoder/{name}", {**VIT, **changes})})


@pytest.mark.parametrize(("max_tiles", "positions"), [(1, [4, 4]), (4, [16, 12])])
@torch.no_grad()
def test_a_reply_reads_several_pictures_as_the_stage_does(
    max_tiles: int, positions: list[int], pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = system_of(omnikit.create("vision_encoder/timm", **VIT, max_tiles=max_tiles))
    stage = stage_of(system, pictures[0].parent)
    assert isinstance(stage.image_size, AnyRes) is (max_tiles > 1)
    read: list[list[Segment]] = []

    def generate(prompts: list[list[Segment]], **_: Any) -> list[Generated]:
        read.extend(prompts)
        return [Generated(ids=(), text=REPLY, finished=True) for _ in prompts]

    monkeypatch.setattr(system.part("backbone"), "generate", generate)
    assert system.reply(image=pictures, text="which is red").turn.text == "a star"
    system.reply(image=pictures[::-1], text="which is red")

    def taught(names: tuple[str, ...]) -> list[Segment]:
        sample = LanguageSample("dialogue", UserInput(names, text="which is red"), "a star")
        features = stage.see(read_batch(pictures[0].parent, [sample], stage.image_size))
        return prompt_of(sample, features, stage.format)

    for found, names in zip(read, (tuple(SHAPES), tuple(SHAPES)[::-1]), strict=True):
        expected = taught(names)
        assert [(item.control, item.text, item.units) for item in found] == [
            (item.control, item.text, item.units) for item in expected
        ]
        shown = [item.frames for item in found if item.frames is not None]
        for own, theirs in zip(shown, [item.frames for item in expected if item.frames is not None], strict=True):
            torch.testing.assert_close(own, theirs)
    assert system.look([]) == []
    shown = [len(item.frames) for item in read[0] if item.frames is not None]
    assert shown == positions == [stage.image_positions(name) for name in SHAPES]
