"""A reference encoder: one style vector of a spectrogram.

Letters: B batch, F frequency bins, T frames, D width, H heads, G style width.

Ref: Min et al., "Meta-StyleSpeech", ICML 2021, section 3.1.1 (mel-style encoder); Mish: Misra, BMVC 2020.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_SPECTRUM_FLOOR = 1e-5


class _Linear(nn.Module):
    """A linear layer that published checkpoints keep one name deeper."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class _Conv(nn.Module):
    """A convolution over [B, T, D] that published checkpoints keep one name deeper."""

    def __init__(self, in_dim: int, out_dim: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_dim, out_dim, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class GatedConv(nn.Module):
    """Residual gated convolution over time. Ref: Dauphin et al., "Gated Convolutional Networks", ICML 2017."""

    def __init__(self, dim: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = _Conv(dim, 2 * dim, kernel_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Frames x [B, T, D] → [B, T, D]."""
        return x + self.dropout(functional.glu(self.conv1(x), -1))


class StyleAttention(nn.Module):
    """Residual self-attention over frames, its scores divided by √D (the full width, not that of a head)."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, dim**-0.5
        self.w_qs, self.w_ks, self.w_vs = (nn.Linear(dim, dim) for _ in range(3))
        self.fc = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Frames x [B, T, D], keys to look at `valid` [B, T] → [B, T, D]."""
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, T, D / H]
            for layer in (self.w_qs, self.w_ks, self.w_vs)
        )
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=valid[:, None, None], scale=self.scale
        )
        return x + self.dropout(self.fc(out.transpose(1, 2).flatten(2)))


class StyleEncoder(nn.Module):
    """Spectrogram → style vector of length 1.

    `compress` takes the logarithm of the magnitudes first, so that loud parts do not decide alone; `mask_padding` keeps
    padded frames out of the convolutions, so that a batch gives the same vectors as single recordings. Published
    checkpoints have neither.
    """

    def __init__(
        self,
        num_bins: int,
        hidden_dim: int,
        style_dim: int,
        num_heads: int = 2,
        kernel_size: int = 5,
        dropout: float = 0.1,
        compress: bool = False,
        mask_padding: bool = False,
    ) -> None:
        super().__init__()
        self.compress, self.mask_padding = compress, mask_padding
        self.spectral = nn.Sequential(
            _Linear(num_bins, hidden_dim),
            nn.Mish(),
            nn.Dropout(dropout),
            _Linear(hidden_dim, hidden_dim),
            nn.Mish(),
            nn.Dropout(dropout),
        )
        self.temporal = nn.Sequential(*(GatedConv(hidden_dim, kernel_size, dropout) for _ in range(2)))
        self.slf_attn = StyleAttention(hidden_dim, num_heads, dropout)
        self.fc = _Linear(hidden_dim, style_dim)

    def forward(self, spectrum: Tensor, mask: Tensor) -> Tensor:
        """Magnitudes [B, F, T] with mask [B, 1, T] → styles [B, G] of unit length."""
        valid = mask[:, 0] > 0  # [B, T]
        frame_mask = mask.transpose(1, 2)  # [B, T, 1]
        x = spectrum.transpose(1, 2)  # [B, T, F]
        if self.compress:
            x = x.clamp(min=_SPECTRUM_FLOOR).log()
        x = self.spectral(x)
        for conv in self.temporal:
            x = conv(x * frame_mask if self.mask_padding else x)
        x = self.fc(self.slf_attn(x * frame_mask, valid)).float() * frame_mask
        return functional.normalize(x.sum(1) / frame_mask.sum(1).clamp(min=1), dim=-1)
