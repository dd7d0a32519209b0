"""A component's inference as one function of tensors: what other runtimes than PyTorch are given (`omnikit.export`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class GraphInput:
    """An input: an `example` of it, and the names of its axes that may have any length, by place."""

    example: Tensor
    free: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """`module` maps `inputs`, in their order, to `outputs`; it shares its weights with the component.

    `samples` says that the component's inference draws random numbers: the graph gives what it gives without noise.
    """

    module: nn.Module
    inputs: Mapping[str, GraphInput]
    outputs: tuple[str, ...]
    samples: bool = False


def decoding_inputs(codebooks: Sequence[int], style_dim: int, device: torch.device) -> dict[str, GraphInput]:
    """Inputs of a detokenizer's graph: `units` [1, K, T], and `style` [1, G] where it takes a vector."""
    units = GraphInput(torch.zeros(1, len(codebooks), 9, dtype=torch.long, device=device), {2: "num_units"})
    style = {"style": GraphInput(torch.ones(1, style_dim, device=device))} if style_dim else {}
    return {"units": units, **style}
