"""`projector/mlp`: a multilayer perceptron on every position.

Letters: B batch, N positions, C encoder width, W backbone width.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from omnikit.contracts import DERIVED, Contract, FramesPort
from omnikit.errors import OmnikitError
from omnikit.slots.projector import Projector
from omnikit.types import Frames


class MLPProjector(Projector):
    """Linear layers with exact GELU between them, position by position; as many positions leave as came in.

    Args:
        in_dim: width of the encoder's features.
        out_dim: width of the backbone.
        depth: number of linear layers, at least 1.

    Contract: frames of width `in_dim` → embeds of width `out_dim`. The parameters are named as in a `Sequential`
    (`0.weight`, `2.weight` …), which is the layout of published EMOVA projectors.
    Ref: Liu et al. 2023 (LLaVA-1.5, arXiv 2310.03744); Chen et al. 2024 (EMOVA, arXiv 2409.18042).

    >>> MLPProjector(in_dim=8, out_dim=16)
    """

    def __init__(self, in_dim: int = DERIVED, out_dim: int = DERIVED, depth: int = 2) -> None:
        super().__init__()
        if depth < 1:
            raise OmnikitError(f"projector/mlp: depth is {depth}; it counts linear layers, so give 1 or more.")
        layers: list[nn.Module] = [nn.Linear(in_dim, out_dim)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(out_dim, out_dim)]
        self.in_dim = in_dim
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)

    @classmethod
    def contract(cls, in_dim: Any = DERIVED, out_dim: Any = DERIVED, depth: int = 2) -> Contract:
        return Contract(
            needs={"frames": FramesPort(dim=in_dim)},
            gives={"embeds": FramesPort(dim=out_dim)},
            causal=True,
            lookahead_ms=0.0,
        )

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, C] → [B, N, W]. Raises `OmnikitError` for features of another width."""
        hidden = frames.features
        if hidden.shape[-1] != self.in_dim:
            raise OmnikitError(f"projector/mlp was made for features of width {self.in_dim}, not {hidden.shape[-1]}.")
        for layer in self.children():
            hidden = layer(hidden)
        return Frames(features=hidden, lengths=frames.lengths, rate=frames.rate)
