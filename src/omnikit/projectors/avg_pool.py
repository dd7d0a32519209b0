"""`projector/avg_pool`: the mean over regions of the map, then a multilayer perceptron.

Letters: B batch, M positions out, C encoder width, Y and X rows and columns.
"""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from omnikit.contracts import DERIVED, Contract
from omnikit.projectors.square_map import SquareMapProjector, mlp


class AvgPoolProjector(SquareMapProjector):
    """Adaptive average pooling of a square map, then linear layers with GELU; the regions need not divide the map.

    Args:
        in_dim: width of the encoder's features.
        out_dim: width of the backbone.
        in_length: positions of a picture, a square number.
        out_side: side of the pooled map.
        depth: number of linear layers, at least 1.
        pre_norm: normalise the features first.
        positions: add learned positions to the features before they are pooled.

    Contract: `in_length` frames of width `in_dim` → `out_side`² embeds of width `out_dim`.
    Where the map does not divide, regions overlap: 9 x 9 → 5 x 5 takes the mean over windows of two positions.
    Ref: Chen et al. 2024 (EMOVA, arXiv 2409.18042); Cha et al. 2024 (Honeybee, arXiv 2312.06742).

    >>> AvgPoolProjector(in_dim=8, out_dim=16, in_length=64, out_side=4)
    """

    name = "projector/avg_pool"

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
        super().__init__(in_dim, in_length, out_side, mlp(in_dim, out_dim, depth, self.name), pre_norm, positions)

    @classmethod
    def contract(cls, in_dim: Any, out_dim: Any, in_length: Any, out_side: int, **_: Any) -> Contract:
        return cls.map_contract(in_dim, out_dim, in_length, out_side)

    def shrink(self, features: Tensor) -> Tensor:
        """The mean over every region, [B, M, C]."""
        pooled = F.adaptive_avg_pool2d(rearrange(features, "b y x c -> b c y x"), self.out_side)
        return rearrange(pooled, "b c y x -> b (y x) c")
