"""A transformer over short sequences with learnt embeddings of near relative positions.

Letters: B batch, D width, T steps, H heads, d width of a head, W = 2 · window + 1 relative positions.
Masks are [B, 1, T].

Ref: Shaw et al., "Self-Attention with Relative Position Representations", NAACL 2018, equations 3 and 4, with all
positions further away than the window left without an embedding; Kim et al., VITS, ICML 2021, section 2.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.channel_norm import ChannelNorm

_MASKED_SCORE = -1e4


def band_to_square(band: Tensor) -> Tensor:
    """Entries by relative position [..., T, W] → [..., T, T]: out[i, j] = band[i, j - i + window], 0 outside."""
    num_steps, width = band.shape[-2:]
    window = width // 2
    rows = functional.pad(band, (0, num_steps)).flatten(-2)  # a row longer than the last by one shifts the diagonal
    square = rows[..., : num_steps * (num_steps + width - 1)].unflatten(-1, (num_steps, num_steps + width - 1))
    return square[..., window : window + num_steps]


def square_to_band(square: Tensor, window: int) -> Tensor:
    """Entries [..., T, T] → those near the diagonal [..., T, W]: out[i, r] = square[i, i + r - window], 0 outside."""
    num_steps, width = square.shape[-1], 2 * window + 1
    rows = functional.pad(square, (window, window)).flatten(-2)
    return functional.pad(rows, (0, num_steps)).unflatten(-1, (num_steps, num_steps + width))[..., :width]


class RelativeAttention(nn.Module):
    """Multi-head self-attention whose keys and values know how far away they are, up to `window` steps."""

    def __init__(self, dim: int, num_heads: int, window: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        head_dim = dim // num_heads
        self.conv_q, self.conv_k, self.conv_v, self.conv_o = (nn.Conv1d(dim, dim, 1) for _ in range(4))
        self.emb_rel_k = nn.Parameter(torch.randn(1, 2 * window + 1, head_dim) * head_dim**-0.5)
        self.emb_rel_v = nn.Parameter(torch.randn(1, 2 * window + 1, head_dim) * head_dim**-0.5)
        self.dropout = nn.Dropout(dropout)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Steps x [B, D, T] → [B, D, T]."""
        query, key, value = (
            conv(x).unflatten(1, (self.num_heads, -1)).transpose(2, 3)  # [B, H, T, d]
            for conv in (self.conv_q, self.conv_k, self.conv_v)
        )
        query = query * query.shape[-1] ** -0.5
        scores = query @ key.transpose(2, 3) + band_to_square(query @ self.emb_rel_k.transpose(1, 2))  # [B, H, T, T]
        both = mask[:, :, None] * mask[..., None]  # [B, 1, T, T]
        weights = self.dropout(scores.masked_fill(both == 0, _MASKED_SCORE).softmax(-1))
        out = weights @ value + square_to_band(weights, self.window) @ self.emb_rel_v
        return self.conv_o(out.transpose(2, 3).flatten(1, 2))  # [B, D, T]


class ConvFFN(nn.Module):
    """Two convolutions over time with a ReLU between them."""

    def __init__(self, dim: int, hidden_dim: int, kernel_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.padding = ((kernel_size - 1) // 2, kernel_size // 2)
        self.conv_1 = nn.Conv1d(dim, hidden_dim, kernel_size)
        self.conv_2 = nn.Conv1d(hidden_dim, dim, kernel_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Steps x [B, D, T] → [B, D, T]."""
        x = self.dropout(self.conv_1(functional.pad(x * mask, self.padding)).relu())
        return self.conv_2(functional.pad(x * mask, self.padding)) * mask


class RelativeTransformer(nn.Module):
    """Post-norm layers of relative attention and convolutional feed-forward."""

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        num_layers: int,
        kernel_size: int = 3,
        window: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attn_layers = nn.ModuleList(RelativeAttention(dim, num_heads, window, dropout) for _ in range(num_layers))
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(dim) for _ in range(num_layers))
        self.ffn_layers = nn.ModuleList(ConvFFN(dim, ffn_dim, kernel_size, dropout) for _ in range(num_layers))
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(dim) for _ in range(num_layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Steps x [B, D, T] → [B, D, T]."""
        x = x * mask
        for attend, norm_1, feed, norm_2 in zip(
            self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True
        ):
            x = norm_1(x + self.dropout(attend(x, mask)))
            x = norm_2(x + self.dropout(feed(x, mask)))
        return x * mask
