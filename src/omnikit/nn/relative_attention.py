"""A transformer over short sequences with learnt embeddings of near relative positions.

Letters: B batch, D width, T steps, H heads, d width of a head, N queries at a time,
W = 2 · window + 1 relative positions.
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
_SCORES_AT_ONCE = 2**19
"""So many scores a head exist at a time: memory grows with the number of steps, not with its square."""


def skewed(band: Tensor) -> Tensor:
    """Entries by relative position [..., N, W] → [..., N, N + W - 1]: out[i, i + r] = band[i, r], 0 elsewhere."""
    num_steps, width = band.shape[-2:]
    rows = functional.pad(band, (0, num_steps)).flatten(-2)  # a row longer than the last by one shifts the diagonal
    size = num_steps + width - 1
    return rows[..., : num_steps * size].unflatten(-1, (num_steps, size))


def unskewed(square: Tensor, width: int) -> Tensor:
    """Undo `skewed`: [..., N, N + W - 1] → [..., N, W]."""
    num_steps = square.shape[-2]
    rows = functional.pad(square.flatten(-2), (0, num_steps))
    return rows.unflatten(-1, (num_steps, num_steps + width))[..., :width]


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
        num_steps = x.shape[-1]
        if torch.compiler.is_exporting():  # a graph is one for every number of steps, so it takes them all at once
            out = self._attended(query, key, value, mask, 0, num_steps)  # [B, H, T, d]
            return self.conv_o(out.transpose(2, 3).flatten(1, 2))  # [B, D, T]
        out = torch.empty_like(query)  # [B, H, T, d]
        size = max(1, _SCORES_AT_ONCE // num_steps)
        for start in range(0, num_steps, size):
            stop = min(start + size, num_steps)
            out[:, :, start:stop] = self._attended(query, key, value, mask, start, stop)
        return self.conv_o(out.transpose(2, 3).flatten(1, 2))  # [B, D, T]

    def _attended(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, start: int, stop: int) -> Tensor:
        """What the queries from `start` to `stop` see [B, H, N, d] of all keys and values [B, H, T, d]."""
        num_steps = key.shape[2]
        query = query[:, :, start:stop]
        low = max(0, start - self.window)  # the keys near some query
        high = num_steps if stop == num_steps else min(num_steps, stop + self.window)
        ahead, behind = low - (start - self.window), stop + self.window - high  # near steps that do not exist
        scores = query @ key.transpose(2, 3)  # [B, H, N, T]
        near = skewed(query @ self.emb_rel_k.transpose(1, 2))  # [B, H, N, N + W - 1]
        scores = scores + functional.pad(near[..., ahead : near.shape[-1] - behind], (low, num_steps - high))
        both = mask[:, :, None] * mask[..., start:stop, None]  # [B, 1, N, T]
        weights = self.dropout(scores.masked_fill(both == 0, _MASKED_SCORE).softmax(-1))
        near = unskewed(functional.pad(weights[..., low:high], (ahead, behind)), 2 * self.window + 1)
        return weights @ value + near @ self.emb_rel_v


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
