"""SPIRAL's blocks for inference on a CPU: the formulas of `nn.spiral` over packed weights, in float32 or bfloat16.

Query, key and value come of one product; convolutions of a few taps are products over stretches of steps; weight
normalisation is multiplied out once; transformers compute valid steps only, one row behind the other.

Letters: B batch, T time steps, P valid steps of all rows, D width, H attention heads, K kernel taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from omnikit.nn.fourier_conv import SHORTEST_KERNEL, FourierConv
from omnikit.nn.packed import PackedConv, PackedMatrix

if TYPE_CHECKING:
    from omnikit.nn.spiral import ConvBlock, FeatureEncoder, TransformerBlock, TransformerLayer

_LONGEST_DENSE = 512
"""Steps up to which attention in bfloat16 computes all scores at once: faster than in blocks, but square in memory."""


class PackedBlock(Protocol):
    """One block at inference: steps [B, T, D] with lengths [B] → steps [B, T', D'] with theirs."""

    def __call__(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]: ...


class PackedSpiral:
    """The chain of blocks in one precision; made from a `FeatureEncoder`, whose weights it has copied."""

    def __init__(self, encoder: FeatureEncoder, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.blocks: Sequence[PackedBlock] = [block.packed(dtype) for block in encoder.block_modules]

    def __call__(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Steps x [B, T, D] with `lengths` [B] → steps [B, T', D'] float32 with theirs."""
        with torch.autocast("cpu", enabled=False):
            x = x.to(self.dtype)
            for block in self.blocks:
                x, lengths = block(x, lengths)
            return x.float(), lengths


def _padding(x: Tensor, lengths: Tensor) -> Tensor | None:
    """True where a step is padding [B, T], None where no step is."""
    padding = torch.arange(x.shape[1]) >= lengths[:, None]
    return padding if bool(padding.any()) else None


def _cleared(x: Tensor, padding: Tensor | None) -> Tensor:
    return x if padding is None else x.masked_fill(padding[..., None], 0.0)


class PackedConvBlock:
    """Convolution as a matrix product over stretches of K steps → layer norm → ReLU."""

    def __init__(self, block: ConvBlock, dtype: torch.dtype) -> None:
        self.block = block
        conv = block.conv.conv
        self.product = PackedMatrix(conv.weight.transpose(1, 2).flatten(1), conv.bias, dtype)  # [D', K * D]

    def __call__(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Steps x [B, T, D] with `lengths` [B] → steps [B, T', D'] with theirs."""
        conv = self.block.conv
        if conv.kernel_size > 1:
            left, right = conv.margins(x.shape[1])
            x = functional.pad(_cleared(x, _padding(x, lengths)), (0, 0, left, right))
            x = x.unfold(1, conv.kernel_size, conv.stride).transpose(2, 3).flatten(2)  # [B, T', K * D]
            lengths = conv.shortened(lengths)
        x = self.block.norm(self.product(x))
        return (functional.relu(x, inplace=True) if self.block.activate else x), lengths


class PackedLayer:
    """Pre-norm layer: x += attention(norm(x)); x += W2 · GELU(W1 · norm(x))."""

    def __init__(self, layer: TransformerLayer, dtype: torch.dtype) -> None:
        self.layer, attention = layer, layer.self_attn
        self.num_heads = attention.num_heads
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.qkv = PackedMatrix(
            torch.cat([item.weight for item in projections]), torch.cat([item.bias for item in projections]), dtype
        )
        self.out = PackedMatrix(attention.out_proj.weight, attention.out_proj.bias, dtype)
        self.fc1 = PackedMatrix(layer.fc1.weight, layer.fc1.bias, dtype, "gelu")
        self.fc2 = PackedMatrix(layer.fc2.weight, layer.fc2.bias, dtype)

    def __call__(self, x: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
        """Steps x [P, D] → [P, D]; `groups` are the (rows, steps of each) that lie one behind the other."""
        heads = self.qkv(self.layer.self_attn_layer_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        parts = heads.split([rows * steps for rows, steps in groups])
        told = [_attend(part.unflatten(0, group)) for part, group in zip(parts, groups, strict=True)]
        x = x + self.out(torch.cat(told) if len(told) > 1 else told[0])
        return x + self.fc2(self.fc1(self.layer.final_layer_norm(x)))


def _attend(heads: Tensor) -> Tensor:
    """Attention within rows of equal length: [B, T, 3, H, D / H] → [B * T, D]; the softmax is taken in float32."""
    query, key, value = heads.permute(2, 0, 3, 1, 4)  # [B, H, T, D / H] each
    if query.dtype == torch.float32 or query.shape[2] > _LONGEST_DENSE:
        y = functional.scaled_dot_product_attention(query, key, value)
    else:
        scores = (query @ key.transpose(2, 3)).float().mul_(query.shape[-1] ** -0.5)  # [B, H, T, T]
        y = scores.softmax(-1).to(value.dtype) @ value
    return y.transpose(1, 2).flatten(2).flatten(0, 1)


class PackedTransformer:
    """Position convolution, pre-norm layers and a final layer norm."""

    def __init__(self, block: TransformerBlock, dtype: torch.dtype) -> None:
        position = block.pos_conv[0]
        weight, groups = position.weight(), position.num_groups
        self.position: FourierConv | PackedConv
        if weight.shape[-1] >= SHORTEST_KERNEL:
            self.position = FourierConv(weight, position.bias, groups)
        else:
            self.position = PackedConv(weight, position.bias, groups, dtype, "gelu")
        self.layers = [PackedLayer(layer, dtype) for layer in block.layers]
        self.norm = block.layer_norm

    def __call__(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Steps x [B, T, D] with `lengths` [B] → steps [B, T, D] with the same lengths."""
        padding = _padding(x, lengths)
        x = _cleared(x, padding)
        x = x + self.position(x)[:, : x.shape[1]]
        groups = [(len(list(rows)), steps) for steps, rows in groupby(lengths.tolist())]
        if padding is None:
            return self._valid(x.flatten(0, 1), groups).view(x.shape), lengths
        y = torch.zeros_like(x)
        y[~padding] = self._valid(x[~padding], groups)
        return y, lengths

    def _valid(self, x: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
        """The layers over steps x [P, D] of (rows, steps of each)."""
        for layer in self.layers:
            x = layer(x, groups)
        return self.norm(x)
