"""`projector/concat_channel`: neighbouring positions side by side in one wide vector, then a multilayer perceptron.

Letters: B batch, M positions out, P positions of a block, C encoder width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from omnikit.contracts import DERIVED, Contract
from omnikit.projectors.square_map import BlockProjector, mlp


class ConcatChannelProjector(BlockProjector):
    """Concatenates every square block of a map, row by row, and maps it by linear layers with GELU; nothing is lost.

    Args:
        in_dim: width of the encoder's features.
        out_dim: width of the backbone.
        in_length: positions of a picture, a square number.
        out_side: side of the map that leaves; it divides the side of the one that enters.
        depth: number of linear layers, at least 1.
        pre_norm: normalise the features first.
        positions: add learned positions to the features before they are joined.

    Contract: `in_length` frames of width `in_dim` → `out_side`² embeds of width `out_dim`.
    Ref: Chen et al. 2024 (EMOVA, arXiv 2409.18042); Chen et al. 2023 (MiniGPT-v2, arXiv 2310.09478).

    >>> ConcatChannelProjector(in_dim=8, out_dim=16, in_length=64, out_side=4)
    """

    name = "projector/concat_channel"

    def __init__(
        self,
        in_dim: int = DERIVED,
        out_dim: int = DERIVED,
        in_length: int = DERIVED,
        out_side: int = 16,
        depth: int = 2,
        pre_norm: bool = False,
        positions: bool = False,
    ) -> None:
        block = (self.check_sides(in_length, out_side) // out_side) ** 2
        layers = mlp(block * in_dim, out_dim, depth, self.name)
        super().__init__(in_dim, in_length, out_side, layers, pre_norm, positions)

    @classmethod
    def contract(cls, in_dim: Any, out_dim: Any, in_length: Any, out_side: int, **_: Any) -> Contract:
        return cls.map_contract(in_dim, out_dim, in_length, out_side)

    def shrink(self, features: Tensor) -> Tensor:
        """Every block as one vector, [B, M, P C]."""
        return self.blocks(features).flatten(2)
