"""`projector/c_abstractor`: convolutions that keep what is near together, around an average pooling.

Letters: B batch, M positions out, C channels, Y and X rows and columns.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from omnikit.contracts import DERIVED, Contract
from omnikit.projectors.square_map import SquareMapProjector, mlp

_SQUEEZE = 0.25


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every position of a map [B, C, Y, X]."""

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, Y, X] → [B, C, Y, X]."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NormedConv(nn.Module):
    """A convolution that keeps the map's size, then channel normalisation; `conv` and `bn` are RegNet's names."""

    def __init__(self, in_dim: int, out_dim: int, kernel_size: int = 1, groups: int = 1) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_dim, out_dim, kernel_size, padding=padding, groups=groups, bias=False)
        self.bn = ChannelNorm(out_dim)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, Y, X] → [B, C', Y, X]."""
        return self.bn(self.conv(maps))


class SqueezeExcite(nn.Module):
    """Gates every channel by what the whole map holds (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, dim: int, squeezed_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, squeezed_dim, 1)
        self.fc2 = nn.Conv2d(squeezed_dim, dim, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, Y, X] → [B, C, Y, X]."""
        gates = self.fc2(F.silu(self.fc1(maps.mean((2, 3), keepdim=True))))  # [B, C, 1, 1]
        return maps * gates.sigmoid()


class RegNetBlock(nn.Module):
    """A bottleneck of RegNet: 1 x 1, depthwise 3 x 3, squeeze-excite, 1 x 1, and a shortcut.

    Ref: Radosavovic et al. 2020 (RegNet, arXiv 2003.13678), with layer normalisation and SiLU.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv1 = NormedConv(in_dim, out_dim)
        self.conv2 = NormedConv(out_dim, out_dim, kernel_size=3, groups=out_dim)
        self.se = SqueezeExcite(out_dim, max(1, round(_SQUEEZE * in_dim)))
        self.conv3 = NormedConv(out_dim, out_dim)
        self.downsample = NormedConv(in_dim, out_dim) if in_dim != out_dim else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, Y, X] → [B, C', Y, X]."""
        hidden = F.silu(self.conv2(F.silu(self.conv1(maps))))
        return F.silu(self.conv3(self.se(hidden)) + self.downsample(maps))


def regnet_stage(in_dim: int, out_dim: int, depth: int) -> nn.Sequential:
    """`depth` blocks named `b1`, `b2` …; the first one changes the width."""
    blocks = {f"b{1 + number}": RegNetBlock(out_dim if number else in_dim, out_dim) for number in range(depth)}
    return nn.Sequential(OrderedDict(blocks))


class CAbstractorProjector(SquareMapProjector):
    """RegNet blocks, adaptive average pooling, RegNet blocks, then linear layers with GELU.

    Args:
        in_dim: width of the encoder's features.
        out_dim: width of the backbone.
        in_length: positions of a picture, a square number.
        out_side: side of the map that leaves.
        conv_dim: channels of the convolutions.
        conv_depth: RegNet blocks before the pooling, and as many after it.
        depth: number of linear layers, at least 1.
        pre_norm: normalise the features first.
        positions: add learned positions to the features first.

    Contract: `in_length` frames of width `in_dim` → `out_side`² embeds of width `out_dim`.
    Ref: Cha et al. 2024 (Honeybee, arXiv 2312.06742); Chen et al. 2024 (EMOVA, arXiv 2409.18042).

    >>> CAbstractorProjector(in_dim=8, out_dim=16, in_length=64, out_side=4, conv_dim=12)
    """

    name = "projector/c_abstractor"

    def __init__(
        self,
        in_dim: int = DERIVED,
        out_dim: int = DERIVED,
        in_length: int = DERIVED,
        out_side: int = 16,
        conv_dim: int = 1024,
        conv_depth: int = 2,
        depth: int = 2,
        pre_norm: bool = False,
        positions: bool = False,
    ) -> None:
        super().__init__(in_dim, in_length, out_side, mlp(conv_dim, out_dim, depth, self.name), pre_norm, positions)
        self.downsampler = nn.Sequential(
            regnet_stage(in_dim, conv_dim, conv_depth),
            nn.AdaptiveAvgPool2d(out_side),
            regnet_stage(conv_dim, conv_dim, conv_depth),
        )

    @classmethod
    def contract(cls, in_dim: Any, out_dim: Any, in_length: Any, out_side: int, **_: Any) -> Contract:
        return cls.map_contract(in_dim, out_dim, in_length, out_side)

    def shrink(self, features: Tensor) -> Tensor:
        """The convolved and pooled map, [B, M, C]."""
        maps = self.downsampler(rearrange(features, "b y x c -> b c y x"))
        return rearrange(maps, "b c y x -> b (y x) c")
