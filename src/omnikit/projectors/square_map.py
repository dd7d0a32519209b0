"""What connectors that shrink a square map of features share: the map's sizes, its norm and positions, and the MLP.

Letters: B batch, N positions in, M positions out, C encoder width, W backbone width, Y and X rows and columns in.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from omnikit.contracts import Contract, FramesPort
from omnikit.errors import OmnikitError
from omnikit.slots.projector import Projector
from omnikit.types import Frames

_POSITION_STD = 0.02


class SquareMapProjector(Projector):
    """Normalises a square map of features, adds learned positions (both on request), shrinks it and maps it linearly.

    The names of the parameters (`norm`, `pos_emb`, `downsampler`, `mlp`) are those of published EMOVA projectors.
    Ref: Chen et al. 2024 (EMOVA, arXiv 2409.18042).
    """

    name = "projector"

    def __init__(
        self, in_dim: int, in_length: int, out_side: int, mlp: nn.Sequential, pre_norm: bool, positions: bool
    ) -> None:
        super().__init__()
        self.in_dim, self.in_length = in_dim, in_length
        self.in_side, self.out_side = self.check_sides(in_length, out_side), out_side
        if positions:
            self.pos_emb = nn.Parameter(torch.randn(in_length, in_dim) * _POSITION_STD)
        else:
            self.register_parameter("pos_emb", None)
        self.norm = nn.LayerNorm(in_dim) if pre_norm else nn.Identity()
        self.mlp = mlp

    @abstractmethod
    def shrink(self, features: Tensor) -> Tensor:
        """A map [B, Y, X, C] as what the MLP reads, [B, M, ·], in row-major order."""

    @classmethod
    def check_sides(cls, in_length: int, out_side: int) -> int:
        """Side of a square map of `in_length` positions. Raises `OmnikitError` when it cannot shrink to `out_side`."""
        side = math.isqrt(in_length)
        if side**2 != in_length:
            raise OmnikitError(
                f"{cls.name} shrinks square maps, and {in_length} positions are no square.\n"
                "Take an encoder that gives every picture one square of patches, or projector=mlp."
            )
        if not 1 <= out_side <= side:
            raise OmnikitError(
                f"{cls.name} shrinks a map of {side} x {side} positions: out_side must be 1 … {side}, not {out_side}."
            )
        return side

    @classmethod
    def map_contract(cls, in_dim: Any, out_dim: Any, in_length: Any, out_side: int) -> Contract:
        """The contract of such a connector, with its sizes checked as soon as both are known."""
        if isinstance(in_length, int):
            cls.check_sides(in_length, out_side)
        return Contract(
            needs={"frames": FramesPort(dim=in_dim, length=in_length)},
            gives={"embeds": FramesPort(dim=out_dim, length=out_side**2)},
        )

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, C] of N = `in_length` positions → [B, M, W] of M = `out_side`².

        Raises `OmnikitError` for features of another width or number of positions, and for features in time.
        """
        hidden = frames.features
        if frames.rate is not None:
            raise OmnikitError(f"{self.name} shrinks maps of pictures; features in time ({frames.rate} Hz) have none.")
        if hidden.shape[1:] != (self.in_length, self.in_dim) or bool((frames.lengths != self.in_length).any()):
            raise OmnikitError(
                f"{self.name} was made for {self.in_length} positions of width {self.in_dim}, "
                f"not {frames.lengths.tolist()[:4]} in {list(hidden.shape)}."
            )
        hidden = self.norm(hidden)
        if self.pos_emb is not None:
            hidden = hidden + self.pos_emb
        hidden = self.mlp(self.shrink(rearrange(hidden, "b (y x) c -> b y x c", y=self.in_side)))  # [B, M, W]
        return Frames(hidden, torch.full_like(frames.lengths, hidden.shape[1]))


class BlockProjector(SquareMapProjector):
    """A `SquareMapProjector` whose every position out comes from one square block of positions in."""

    @classmethod
    def check_sides(cls, in_length: int, out_side: int) -> int:
        """As above; `out_side` must divide the side of the map."""
        side = super().check_sides(in_length, out_side)
        if side % out_side:
            fitting = [number for number in range(1, side + 1) if side % number == 0]
            raise OmnikitError(
                f"{cls.name} joins square blocks: out_side {out_side} does not divide {side}; take one of {fitting}."
            )
        return side

    def blocks(self, features: Tensor) -> Tensor:
        """A map [B, Y, X, C] as blocks [B, M, P, C] of P neighbours, both in row-major order."""
        side = self.out_side
        return rearrange(features, "b (y p) (x q) c -> b (y x) (p q) c", y=side, x=side)


def mlp(in_dim: int, out_dim: int, depth: int, name: str) -> nn.Sequential:
    """`depth` linear layers with exact GELU between them. Raises `OmnikitError` for a depth below 1."""
    if depth < 1:
        raise OmnikitError(f"{name}: depth is {depth}; it counts linear layers, so give 1 or more.")
    layers: list[nn.Module] = [nn.Linear(in_dim, out_dim)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(out_dim, out_dim)]
    return nn.Sequential(*layers)
