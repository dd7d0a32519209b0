"""The two encoders of a VITS: units → prior, spectrogram → posterior.

Letters: B batch, K codebooks, T units, F frequency bins, L frames, H width, C latent channels, G style width.

Ref: Kim et al., VITS, ICML 2021, sections 2.1 and 2.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from omnikit.nn.flow import WN
from omnikit.nn.relative_attention import RelativeTransformer


class UnitEncoder(nn.Module):
    """Units → states and the prior's mean and log scale per unit.

    The table holds `symbol_offset` rows that units never use (published checkpoints keep 178 text symbols there), then
    the codebooks one after the other; the embeddings of a step's K units are averaged.
    """

    first_rows: Tensor

    def __init__(
        self,
        codebooks: Sequence[int],
        symbol_offset: int,
        latent_dim: int,
        hidden_dim: int,
        filter_dim: int,
        num_heads: int,
        num_layers: int,
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        starts = torch.tensor([0, *codebooks[:-1]]).cumsum(0) + symbol_offset  # [K]
        self.register_buffer("first_rows", starts, persistent=False)
        self.emb = nn.Embedding(symbol_offset + sum(codebooks), hidden_dim)
        nn.init.normal_(self.emb.weight, std=hidden_dim**-0.5)
        self.encoder = RelativeTransformer(
            hidden_dim, filter_dim, num_heads, num_layers, kernel_size=kernel_size, dropout=dropout
        )
        self.proj = nn.Conv1d(hidden_dim, 2 * latent_dim, 1)

    def forward(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit ids [B, K, T] with mask [B, 1, T] → states [B, H, T], mean and log scale [B, C, T]."""
        rows = self.emb(codes + self.first_rows[:, None]).mean(1)  # [B, T, H]
        hidden = self.encoder(rows.transpose(1, 2) * self.hidden_dim**0.5, mask)
        mean, log_scale = (self.proj(hidden) * mask).chunk(2, 1)
        return hidden, mean, log_scale


class PosteriorEncoder(nn.Module):
    """Magnitude spectrogram → mean and log scale of the latents of every frame."""

    def __init__(
        self, num_bins: int, latent_dim: int, hidden_dim: int, kernel_size: int, num_layers: int, style_dim: int
    ) -> None:
        super().__init__()
        self.pre = nn.Conv1d(num_bins, hidden_dim, 1)
        self.enc = WN(hidden_dim, kernel_size, num_layers, style_dim)
        self.proj = nn.Conv1d(hidden_dim, 2 * latent_dim, 1)

    def forward(self, spectrum: Tensor, mask: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
        """Magnitudes [B, F, L] with mask [B, 1, L] in the style g [B, G, 1] → mean and log scale [B, C, L]."""
        x = self.enc(self.pre(spectrum) * mask, mask, g)
        mean, log_scale = (self.proj(x) * mask).chunk(2, 1)
        return mean, log_scale
