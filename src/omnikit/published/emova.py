"""The language model of EMOVA with its vision tower and projector: checkpoints in the layout of its own training code.

A folder with `config.json`, the tokenizer's files and safetensors, one or several with an index. Every tensor of the
folder belongs to one of the three parts; the tower's own weights are in it, so nothing else is fetched. The ids of the
units are those of the tokenizer beside the weights: the published ones stand in no order.

Ref: Chen et al., "EMOVA", CVPR 2025 (arXiv 2409.18042); Wang et al. 2024 (Qwen2-VL, arXiv 2409.12191) for the tower.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from omnikit.errors import WeightsError
from omnikit.published.base import Beside, Layout, Tensors
from omnikit.slots.base import Component

FAMILY = "emova_"
SYSTEM_SENTENCES = {"emova_qwen2": "You are a helpful assistant."}
"""What a conversation begins with, by `model_type`; others begin as their chat template says."""
"""How `model_type` of such a configuration begins; what follows names the language model."""
UNIT_RATE, UNIT_LAYOUT = 25, "reduced"
UNITS_UNKNOWN = "emova-40ms-units"
"""Vocabulary of a backbone that was read without the tokenizer whose units it reads."""
TOWER_HEAD_DIM = 80
"""Width of an attention head of the tower as published (1280 = 16 x 80), which shapes do not say."""
TOWER, PROJECTOR = "model.vision_tower.vision_tower.", "model.mm_projector."

_UNIT = re.compile(r"<\|speech_(\d+)\|>")
_TEXT_FILES = ("tokenizer*", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.jinja")
_OURS = ("mm_", "use_mm_", "image_", "tokenizer_", "tune_", "unfreeze_", "freeze_")


def tower_parameters(tensors: Tensors, config: Mapping[str, Any], beside: Beside) -> dict[str, Any]:
    """Constructor parameters of `vision_encoder/qwen2_vit` from tensor shapes."""

    def shape(name: str) -> tuple[int, ...]:
        if TOWER + name not in tensors:
            raise WeightsError(f"The checkpoint lacks {TOWER}{name}, which sizes of its vision tower are read from.")
        return tuple(tensors[TOWER + name].shape)

    dim, _, _, patch_size, _ = shape("patch_embed.proj.weight")
    given = config.get("mm_vision_tower")
    heads = (given if isinstance(given, Mapping) else {}).get("num_heads") or dim // TOWER_HEAD_DIM
    if not heads or dim % heads:
        raise WeightsError(
            f"The vision tower is {dim} wide; published heads are {TOWER_HEAD_DIM} wide.\n"
            "Say how many it has: mm_vision_tower.num_heads in the config.json beside the weights."
        )
    blocks = {name.split(".")[4] for name in tensors if name.startswith(f"{TOWER}blocks.")}
    return {
        "dim": dim,
        "depth": len(blocks),
        "heads": heads,
        "out_dim": shape("merger.mlp.2.weight")[0],
        "patch_size": patch_size,
        "merge": math.isqrt(shape("merger.mlp.0.weight")[1] // dim),
    }


def tower_name(name: str) -> str | None:
    """Our name of a tensor of the tower."""
    return f"net.{name.removeprefix(TOWER)}" if name.startswith(TOWER) else None


def projector_parameters(tensors: Tensors, config: Mapping[str, Any], beside: Beside) -> dict[str, Any]:
    """Constructor parameters of `projector/mlp` from tensor shapes."""
    names = [name for name in tensors if name.startswith(PROJECTOR) and name.endswith(".weight")]
    out_dim, in_dim = tensors[f"{PROJECTOR}0.weight"].shape
    return {"in_dim": in_dim, "out_dim": out_dim, "depth": len(names)}


def projector_name(name: str) -> str | None:
    """Our name of a tensor of the projector."""
    return name.removeprefix(PROJECTOR) if name.startswith(PROJECTOR) else None


def backbone_parameters(tensors: Tensors, config: Mapping[str, Any], beside: Beside) -> dict[str, Any]:
    """Constructor parameters of `backbone/hf_causal`, but for what its files say."""
    longest = config.get("tokenizer_model_max_length") or config.get("max_position_embeddings")
    if not longest or not str(config.get("model_type", "")).startswith(FAMILY):
        raise WeightsError(
            "The language model of an EMOVA checkpoint needs the config.json beside its weights\n"
            f"(model_type {FAMILY}…, max_position_embeddings, num_attention_heads …). Load the whole folder."
        )
    return {
        "hidden": tensors["model.embed_tokens.weight"].shape[1],
        "max_positions": int(longest),
        "unit_rate": UNIT_RATE,
        "layout": UNIT_LAYOUT,
        "vocab_id": getattr(beside.get("tokenizer"), "vocab_id", UNITS_UNKNOWN),
        "system": SYSTEM_SENTENCES.get(config["model_type"]),
    }


def backbone_name(name: str) -> str | None:
    """Whatever belongs to no other part is the language model's, whose names are ours."""
    return None if name.startswith((TOWER, PROJECTOR)) else name


def make_backbone(
    design: type[Component], parameters: dict[str, Any], folder: Path, config: Mapping[str, Any]
) -> Component:
    """A backbone of the architecture in `config` and with the tokenizer in `folder`; its weights are not read here."""
    with TemporaryDirectory() as made:
        architecture = {name: value for name, value in config.items() if not name.startswith(_OURS)}
        architecture |= {"model_type": str(config["model_type"]).removeprefix(FAMILY), "architectures": None}
        (Path(made) / "config.json").write_text(json.dumps(architecture), encoding="utf-8")
        for pattern in _TEXT_FILES:
            for file in folder.glob(pattern):
                shutil.copy(file, made)
        component = design(**parameters, codebooks=[count_units(folder)], pretrained=made)
    component.parameters_given["pretrained"] = str(folder)
    return component


def count_units(folder: Path) -> int:
    """How many units the tokenizer of a checkpoint knows. Raises `WeightsError` where it knows none, or not all."""
    try:
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        words = [*content["model"]["vocab"], *(token["content"] for token in content["added_tokens"])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder} has no readable tokenizer.json ({type(error).__name__}): the ids of its units are not known.\n"
            "Put the tokenizer's files of this checkpoint beside its weights."
        ) from error
    units = {int(found.group(1)) for word in words if (found := _UNIT.fullmatch(word))}
    if not units or units != set(range(len(units))):
        raise WeightsError(
            f"The tokenizer of {folder} knows {len(units)} units, which are not <|speech_0|> to <|speech_n|> in full.\n"
            "It is no tokenizer of an EMOVA checkpoint after its first stage."
        )
    return len(units)


def fit_rows(component: Component, tensors: Tensors) -> dict[str, Tensor]:
    """The tensors with as many embeddings as ours: further rows are the mean of those that are there.

    Such a row is never the likeliest token. Raises `WeightsError` where a tied output differs from the embeddings.
    """
    own, fitted = component.state_dict(), dict(tensors)
    if "lm_head.weight" not in own and "lm_head.weight" in fitted:
        head = fitted.pop("lm_head.weight")
        table = fitted["model.embed_tokens.weight"]
        if head.shape != table.shape or not torch.equal(head, table):
            raise WeightsError(
                "config.json says that lm_head.weight is tied to model.embed_tokens.weight, but they differ."
            )
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in fitted and name in own and fitted[name].shape[1:] == own[name].shape[1:]:
            rows, wanted = fitted[name], len(own[name])
            mean = rows.float().mean(0, keepdim=True).to(rows)
            fitted[name] = torch.cat([rows, mean.expand(max(0, wanted - len(rows)), -1)])[:wanted]
    return fitted


LAYOUTS = (
    Layout(
        about="EMOVA vision tower (Qwen2-VL)",
        component_id="vision_encoder/qwen2_vit",
        anchor=f"{TOWER}merger.ln_q.weight",
        parameters=tower_parameters,
        rename=tower_name,
    ),
    Layout(
        about="EMOVA projector",
        component_id="projector/mlp",
        anchor=f"{PROJECTOR}0.weight",
        parameters=projector_parameters,
        rename=projector_name,
    ),
    Layout(
        about="EMOVA language model",
        component_id="backbone/hf_causal",
        anchor="model.embed_tokens.weight",
        parameters=backbone_parameters,
        rename=backbone_name,
        make=make_backbone,
        fit=fit_rows,
        reads=("tokenizer",),
    ),
)
