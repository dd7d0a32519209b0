"""`projector/self_mining`: every block of the map is summed up by attention from its own mean.

Letters: B batch, M positions out, P positions of a block, C encoder width, H heads, D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from omnikit.contracts import DERIVED, Contract
from omnikit.errors import OmnikitError
from omnikit.projectors.square_map import BlockProjector, mlp

HEAD_DIM = 64


class BlockAttention(nn.Module):
    """Attention from the mean of a block to its positions, and with `with_mean` to the mean too; no residual."""

    def __init__(self, dim: int, with_mean: bool) -> None:
        super().__init__()
        self.with_mean = with_mean
        self.norm_media = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)

    def forward(self, blocks: Tensor) -> Tensor:
        """Blocks [B, M, P, C] → [B, M, C]."""
        query = self.norm_media(blocks.mean(2, keepdim=True))  # [B, M, 1, C]
        context = self.norm_context(blocks)  # [B, M, P, C]
        if self.with_mean:
            context = torch.cat([context, query], dim=2)
        key, value = self.to_kv(context).chunk(2, dim=-1)
        heads = (rearrange(item, "b m p (h d) -> (b m) h p d", d=HEAD_DIM) for item in (self.to_q(query), key, value))
        found = F.scaled_dot_product_attention(*heads)  # [B M, H, 1, D]
        return rearrange(found, "(b m) h 1 d -> b m (h d)", b=len(blocks))


class SelfMiningProjector(BlockProjector):
    """Attention within every square block of a map, asked by the block's mean, then linear layers with GELU.

    Args:
        in_dim: width of the encoder's features, a multiple of 64 (the width of a head).
        out_dim: width of the backbone.
        in_length: positions of a picture, a square number.
        out_side: side of the map that leaves; it divides the side of the one that enters.
        depth: number of linear layers, at least 1.
        with_mean: the mean is among what is attended to.
        pre_norm: normalise the features first.
        positions: add learned positions to the features first.

    Contract: `in_length` frames of width `in_dim` → `out_side`² embeds of width `out_dim`.
    Ref: Chen et al. 2024 (EMOVA, arXiv 2409.18042); attention as in Alayrac et al. 2022 (Flamingo, arXiv 2204.14198).

    >>> SelfMiningProjector(in_dim=64, out_dim=16, in_length=64, out_side=4)
    """

    name = "projector/self_mining"

    def __init__(
        self,
        in_dim: int = DERIVED,
        out_dim: int = DERIVED,
        in_length: int = DERIVED,
        out_side: int = 16,
        depth: int = 2,
        with_mean: bool = True,
        pre_norm: bool = False,
        positions: bool = False,
    ) -> None:
        if in_dim % HEAD_DIM:
            raise OmnikitError(f"{self.name}: in_dim {in_dim} must be a multiple of {HEAD_DIM}, the width of a head.")
        super().__init__(in_dim, in_length, out_side, mlp(in_dim, out_dim, depth, self.name), pre_norm, positions)
        self.downsampler = BlockAttention(in_dim, with_mean)

    @classmethod
    def contract(cls, in_dim: Any, out_dim: Any, in_length: Any, out_side: int, **_: Any) -> Contract:
        return cls.map_contract(in_dim, out_dim, in_length, out_side)

    def shrink(self, features: Tensor) -> Tensor:
        """What every block's mean found in it, [B, M, C]."""
        return self.downsampler(self.blocks(features))
