"""Vision towers against the published ones: same tensors, same features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from golden.compare import Golden, checks
from omnikit.types import Images
from omnikit.vision_encoders.clip import CLIPEncoder
from omnikit.vision_encoders.intern_vit import InternViT, from_published
from omnikit.vision_encoders.qwen2_vit import Qwen2ViT
from omnikit.vision_encoders.tower import Tower


def raw(encoder: Tower, normalised: Tensor) -> Images:
    """The picture that an encoder normalises to the pixels of the file."""
    return Images(normalised * encoder.std + encoder.mean)


def published(config: Mapping[str, Any], design: type[Tower], **sizes: Any) -> Tower:
    """An encoder with the architecture of a published configuration."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return design(pretrained=folder, **sizes).eval()


@checks("omni/vision_qwen2vit")
@torch.no_grad()
def qwen2_vit(golden: Golden) -> None:
    config = golden.meta["config"]
    encoder = Qwen2ViT(
        dim=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        out_dim=config["hidden_size"],
        patch_size=golden.meta["patch_size"],
        merge=golden.meta["spatial_merge_size"],
    ).eval()
    golden.equal("keys", sorted(encoder.net.state_dict()), sorted(golden.meta["keys"]))
    encoder.net.load_state_dict(golden.state("sd/"))
    grids: Sequence[tuple[int, int]] = [(rows, columns) for _, rows, columns in golden["grid_thw"].tolist()]
    golden.close("rot_pos_emb", encoder.angles(grids))
    (hidden,) = encoder.hidden_states(golden["pixel_values"], grids, [config["depth"] - 1])
    golden.close("output", encoder.net.merger(hidden))


@checks("omni/vision_others")
def towers(golden: Golden) -> None:
    """Every tensor that a published InternViT names has its place in ours, and none of ours is left without."""
    for name, entry in golden.meta.items():
        golden.equal(f"{name} output", entry["select_feature"], "patch")
        if "keys" in entry:
            state = {key: torch.zeros(3) for key in entry["keys"]}
            golden.equal(f"{name} keys", sorted(from_published(state)), sorted(intern(entry).net.state_dict()))


@checks("omni/vision_clip")
@torch.no_grad()
def clip(golden: Golden) -> None:
    entry = others(golden)["clip"]
    config = entry["config"]
    names = {"layers": "num_hidden_layers", "heads": "num_attention_heads", "act": "hidden_act"}
    encoder = published(
        {names.get(name, name): value for name, value in config.items()},
        CLIPEncoder,
        image_size=config["image_size"],
        patch_size=config["patch_size"],
        dim=config["hidden_size"],
        depth=config["layers"],
        heads=config["heads"],
        layer=entry["select_layer"],
    )
    encoder.net.load_state_dict(golden.state("sd/vision_model."))
    golden.close("output", encoder.encode(raw(encoder, golden["input"])).features)


@checks("omni/vision_intern*")
@torch.no_grad()
def intern_vit(golden: Golden) -> None:
    entry = others(golden)[golden.file_id.removeprefix("omni/vision_")]
    encoder = intern(entry)
    state = golden.state("sd/")
    golden.equal("keys", sorted(state), sorted(entry["keys"]))
    encoder.net.load_state_dict(from_published(state))
    golden.close("output", encoder.encode(raw(encoder, golden["input"])).features)
    (other,) = encoder.hidden_states(golden["input_other_size"], [encoder.layer])
    golden.close("output_other_size", other)


def intern(entry: Mapping[str, Any]) -> Tower:
    """The encoder that an entry describes, with random weights."""
    config = entry["config"]
    return published(
        config,
        InternViT,
        image_size=config["image_size"],
        patch_size=config["patch_size"],
        dim=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        layer=entry["select_layer"],
    )


def others(golden: Golden) -> dict[str, Any]:
    """The configurations of all towers but Qwen2's."""
    return json.loads((golden.folder / "omni/vision_others.json").read_text(encoding="utf-8"))
