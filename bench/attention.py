"""How much faster training attention in bfloat16 on CPU is than torch's fused kernel, on shapes of the tiny recipe.

python bench/attention.py
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from timing import machine, take_turns
from torch import Tensor, nn

from omnikit.backbones.attention import attend

SHAPES = {"written questions": (34, 70), "spoken dialogues": (10, 220)}
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 64


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's kernel."""
    return nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)


def ours(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What the backbone does in its place."""
    return attend(nn.Module(), query, key, value, None, scaling=HEAD_DIM**-0.5)[0]


def forward_and_backward(attention: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    """One training pass."""
    for each in inputs:
        each.grad = None
    attention(*inputs).float().sum().backward()


def main() -> None:
    print(machine())
    generator = torch.Generator().manual_seed(0)
    for name, (rows, length) in SHAPES.items():
        inputs = tuple(
            torch.randn(rows, heads, length, HEAD_DIM, generator=generator).bfloat16().requires_grad_()
            for heads in (HEADS, KV_HEADS, KV_HEADS)
        )
        candidates = {
            label: partial(forward_and_backward, attention, inputs)
            for label, attention in {"fused": fused, "ours": ours}.items()
        }
        turns = take_turns(candidates, rounds=15, warmups=3)
        print(f"{name}, {rows} × {length} positions: {turns.ratio('fused', 'ours')}")


if __name__ == "__main__":
    main()
