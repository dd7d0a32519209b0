"""Attention inside each of several sequences that lie behind each other, without a mask and without padding.

Letters: P all positions, L positions of one sequence, R sequences in a run, H heads, D width of a head, C = H D.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FLASH_MULTIPLE = 8  # widths of a head that the kernel takes


@dataclass(frozen=True)
class Packing:
    """Where sequences lie: `lengths` of them, and the `rotation` (cosines and sines [P, 1, D]) of every position."""

    lengths: tuple[int, ...]
    rotation: tuple[Tensor, Tensor]

    def runs(self) -> Iterator[tuple[int, int]]:
        """(length, how many) of neighbours of equal length, which share one call."""
        return ((length, len(list(group))) for length, group in groupby(self.lengths))

    @cached_property
    def bounds(self) -> Tensor:
        """Where every sequence begins, and the end of the last, on the device of the rotation."""
        starts = torch.tensor((0, *self.lengths)).cumsum(0, dtype=torch.int32)
        return starts.to(self.rotation[0].device)


def packed_attention(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    """Full attention inside each sequence, all [P, H, D] → [P, H, D]; cost and memory grow with the sum of L², not P².

    On a GPU in half precision it is one kernel for all sequences (Dao 2023, FlashAttention-2, arXiv 2307.08691);
    elsewhere one call for every run of sequences of equal length.
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] % _FLASH_MULTIPLE == 0:
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = packing.bounds, max(packing.lengths)
        return varlen_attn(query, key, value, bounds, bounds, longest, longest)
    found, start = [], 0
    for length, count in packing.runs():
        span = slice(start, start + length * count)
        heads = (item[span].unflatten(0, (count, length)).transpose(1, 2) for item in (query, key, value))
        each = F.scaled_dot_product_attention(*heads)  # [R, H, L, D]
        found.append(each.transpose(1, 2).flatten(0, 1))  # [R L, H, D]
        start = span.stop
    return found[0] if len(found) == 1 else torch.cat(found)


class PackedSelfAttention(nn.Module):
    """Rotary self-attention over packed sequences, with the two linear maps of another attention module."""

    def __init__(self, qkv: nn.Linear, proj: nn.Linear, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = qkv, proj

    def forward(self, hidden: Tensor, cu_seqlens: Packing, **_: object) -> Tensor:
        """Hidden [P, C] → [P, C]; transformers' blocks hand the packing on under the name `cu_seqlens`."""
        query, key, value = self.qkv(hidden).unflatten(-1, (3, self.heads, -1)).unbind(1)  # each [P, H, D]
        query, key = rotated(query, cu_seqlens.rotation), rotated(key, cu_seqlens.rotation)
        return self.proj(packed_attention(query, key, value, cu_seqlens).flatten(1))


def rotated(vectors: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Vectors [P, H, D] with their two halves turned against each other, in float32.

    Ref: Su et al. 2021 (RoFormer, arXiv 2104.09864).
    """
    cosines, sines = rotation
    wide = vectors.float()
    first, second = wide.chunk(2, dim=-1)
    return (wide * cosines + torch.cat([-second, first], dim=-1) * sines).to(vectors.dtype)


def plane_angles(rows: Tensor, columns: Tensor, head_dim: int) -> Tensor:
    """Angles [P, D / 2] of places in a plane: a quarter of a head turns with the row, a quarter with the column.

    Ref: Wang et al. 2024 (Qwen2-VL, arXiv 2409.12191): frequencies 10000^(-2i / (D / 2)).
    """
    half = head_dim // 2
    frequencies = 10_000.0 ** (-torch.arange(0, half, 2, device=rows.device).float() / half)  # [D / 4]
    return torch.cat([rows[:, None] * frequencies, columns[:, None] * frequencies], dim=1)


def rotation_of(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [P, 1, D] of angles [P, D / 2]."""
    both = torch.cat([angles, angles], dim=1)[:, None]
    return both.cos(), both.sin()


def split_lengths(features: Tensor, lengths: Sequence[int]) -> Tensor:
    """Packed features [P, C] as a padded batch [B, longest, C]; nothing is copied where all are as long."""
    if len(set(lengths)) == 1:
        return features.unflatten(0, (len(lengths), lengths[0]))
    return nn.utils.rnn.pad_sequence(features.split(list(lengths)), batch_first=True)
