"""What a stage of a system takes before any of it is built: tensors without memory, what learns, bytes on every device.

Weights, gradients and the two moments of AdamW are float32, which is exact arithmetic. Activations are an estimate of
what the language model keeps in bfloat16 autocast for the tokens of one device; pictures come on top.
Letters: W width, I width inside a block, K width of keys, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from omnikit.registry import resolve
from omnikit.training.sharding import SHARDED, blocks_of
from omnikit.wiring import Plan

NUMBER, HALF = 4, 2
"""Bytes of a float32 and of a bfloat16 number."""


def skeleton(component: str, parameters: Mapping[str, Any]) -> nn.Module:
    """A component with every tensor by name and shape, without memory, and without anything fetched."""
    design = resolve(component)
    if hasattr(design, "skeleton"):
        return design.skeleton(parameters)
    given = parameters.get("pretrained")
    unfetched = {"pretrained": "none" if isinstance(given, str) else False} if given is not None else {}
    with torch.device("meta"):
        return design(**{**parameters, **unfetched})


@dataclass(frozen=True)
class Held:
    """Bytes on one device: what a training keeps between steps, and what a step takes beside it."""

    weights: int
    gradients: int
    moments: int
    working: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


@dataclass(frozen=True)
class StageMemory:
    """A stage: parameters of every part that it uses, (trainable, frozen), and bytes by way of spreading them."""

    stage: str
    parts: Mapping[str, tuple[int, int]]
    devices: int
    tokens: int
    held: Mapping[str, Held]


def stage_memory(config: Mapping[str, Any], plan: Plan, parts: Mapping[str, nn.Module], devices: int) -> StageMemory:
    """The memory of the stage that a config names, of `parts` by slot, on `devices` devices, replicated and sharded."""
    stage = config["stage"]
    settings, rates = stage["settings"], stage["settings"]["rates"]
    used = {slot: part for slot, part in parts.items() if slot in {*stage["trains"], *stage["uses"]}}
    for slot, part in used.items():
        part.requires_grad_(slot in stage["trains"] and rates.get(slot, 0) > 0)
        if slot == "vision_encoder" and rates.get(slot, 0) > 0 and settings["vision_from"]:
            part.learn_from(settings["vision_from"])  # type: ignore[operator]
    counts = {slot: (_count(part, True), _count(part, False)) for slot, part in used.items()}
    trainable, frozen = (sum(pair[index] for pair in counts.values()) for index in range(2))
    tokens = -(-int(settings["batch_tokens"]) // devices)
    tokens = min(tokens, config["trainer"].get("micro_tokens") or tokens)
    checkpointed = bool(config["trainer"]["activation_checkpointing"])
    sizes = _Sizes.of(used["backbone"])
    kept = sizes.activations(tokens, checkpointed)
    logits = tokens * sizes.vocabulary * (HALF + 2 * NUMBER)
    copies = HALF * (sizes.block if checkpointed else sizes.block * sizes.layers)
    held = {}
    for way in ("replicated", SHARDED):
        cut = devices if way == SHARDED else 1
        whole = 0 if way != SHARDED else NUMBER * (2 * sizes.block + _count_beside(used))
        held[way] = Held(
            weights=NUMBER * (trainable + frozen) // cut,
            gradients=NUMBER * trainable // cut,
            moments=2 * NUMBER * trainable // cut,
            working=whole + copies,
            activations=kept,
            logits=logits,
        )
    return StageMemory(stage["name"], counts, devices, tokens, held)


def _count(part: nn.Module, trainable: bool) -> int:
    return sum(weight.numel() for weight in part.parameters() if weight.requires_grad is trainable)


def _count_beside(parts: Mapping[str, nn.Module]) -> int:
    """Weights and gradients outside the blocks of the language model: a sharded step holds them whole to its end."""
    inside = {id(weight) for block in blocks_of(parts["backbone"]) for weight in block.parameters()}
    outside = [weight for part in parts.values() for weight in part.parameters() if id(weight) not in inside]
    return sum(weight.numel() * (1 + weight.requires_grad) for weight in outside)


@dataclass(frozen=True)
class _Sizes:
    """What the activations of a language model depend on; `block` counts the parameters of one of its blocks."""

    width: int
    inner: int
    keys: int
    layers: int
    block: int
    vocabulary: int

    @classmethod
    def of(cls, backbone: nn.Module) -> _Sizes:
        config: Any = backbone.get_submodule("model").config
        blocks = list(blocks_of(backbone))
        return cls(
            width=config.hidden_size,
            inner=config.intermediate_size,
            keys=config.hidden_size // config.num_attention_heads * config.num_key_value_heads,
            layers=len(blocks),
            block=sum(weight.numel() for weight in blocks[0].parameters()),
            vocabulary=config.vocab_size,
        )

    def activations(self, tokens: int, checkpointed: bool) -> int:
        """Bytes kept for the backward pass; attention keeps no scores.

        Of every block: the float32 sums that enter both halves and what their norms give; queries, keys, values and
        what attention reads; gate, rise, activated gate and product. Checkpointed: what enters, and one whole block.
        Ref: the counting of Korthikanti et al. 2022 (arXiv 2205.05198), section 4, for a gated block.
        """
        stream = NUMBER * self.width
        whole = 2 * stream + HALF * (2 * self.width) + HALF * (2 * self.width + 2 * self.keys) + HALF * 4 * self.inner
        return tokens * (self.layers * stream + whole if checkpointed else self.layers * whole)
