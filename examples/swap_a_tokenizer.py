"""Swap the tokenizer of a system, in Python: what is derived anew, what grows, and what is refused.

python examples/swap_a_tokenizer.py
"""

from __future__ import annotations

from typing import Any

from omnikit import OmnikitError, System
from omnikit.wiring import Node

TOKENIZER = {"num_mels": 40, "widths": [32, 48, 64, 64], "layers": [1, 1], "heads": [4, 4], "position": [16, 8]}
DETOKENIZER = {
    "sample_rate": 16_000,
    "head": "istft",
    "spectrogram": {"num_mels": 40, "max_hz": 8000.0},
    "unit_encoder": {"symbol_offset": 0, "hidden_dim": 32, "filter_dim": 64, "num_layers": 1},
    "latent": {"dim": 32, "hidden_dim": 32, "posterior_layers": 2, "flow_layers": 1},
    "reference": {"hidden_dim": 32},
    "istft": {"hidden_dim": 64, "ffn_dim": 128, "num_layers": 2},
}


def choose(tokenizer: dict[str, Any], layout: str) -> dict[str, str | Node]:
    """Every slot of a small system; only the tokenizer and what reads its layout differ."""
    return {
        "tokenizer": Node("tokenizer/spiral_fsq", {**TOKENIZER, **tokenizer}),
        "vision_encoder": Node("vision_encoder/timm", {"dim": 32, "depth": 2, "heads": 2}),
        "projector": "projector/mlp",
        "backbone": Node("backbone/hf_causal", {"hidden": 64, "layers": 1, "heads": 2, "intermediate": 64}),
        "style": Node("style/label_centroid", {"dim": 16}),
        "detokenizer": Node("detokenizer/uvits", {**DETOKENIZER, "layout": layout}),
        "format": "format/json",
    }


def derived(system: System) -> dict[str, Any]:
    """Every number that a wire decided."""
    return {f"{item.slot}.{item.parameter}": item.value for item in system.plan.derivations}


def sizes(system: System) -> dict[str, int]:
    """Parameters of every component."""
    return {slot: sum(tensor.numel() for tensor in part.parameters()) for slot, part in system.parts.items()}


def show_changes(title: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Print what differs."""
    print(f"\n{title}")
    for name in before:
        if before[name] != after[name]:
            print(f"  {name}: {before[name]} → {after[name]}")


def main() -> None:
    """Assemble two systems, compare them, and try to mix them."""
    first = System.assemble(choose({"levels": [8, 8, 8, 8], "reduced": False}, layout="frame"))
    print("With 4096 units on a clock, negotiation derives:")
    print(first.plan.explain())

    second = System.assemble(choose({"levels": [5, 5, 5], "reduced": True}, layout="reduced"))
    show_changes("With 125 run-length reduced units these are derived anew:", derived(first), derived(second))
    show_changes("and these components have other sizes:", sizes(first), sizes(second))

    print("\nThe second tokenizer with a detokenizer for the first one's layout is refused, before a weight is made:")
    try:
        System.assemble(choose({"levels": [5, 5, 5], "reduced": True}, layout="frame"))
    except OmnikitError as error:
        print(error)


if __name__ == "__main__":
    main()
