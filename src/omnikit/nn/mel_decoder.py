"""The velocity field of a mel spectrogram under flow matching: ConvNeXt blocks that know the time and the style.

Letters: B batch, M mel bands, C condition channels, D width, L frames, G style width. Masks are [B, 1, L].

Ref: Mehta et al., "Matcha-TTS", ICASSP 2024, section 2.2 (condition beside the noisy mel, time embedding); Liu et al.,
"A ConvNet for the 2020s", CVPR 2022 (blocks); Peebles and Xie, "DiT", ICCV 2023, section 3.2 (adaptive layer norm).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from omnikit.nn.istft_head import ConvNeXtBlock, StyledNorm

_TIME_SCALE = 1000.0
_LONGEST_PERIOD = 10_000.0


def time_features(time: Tensor, dim: int) -> Tensor:
    """Sines and cosines of times [B] in [0, 1] at frequencies from 1000 down to 0.1 rad → [B, dim].

    Ref: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5, of the time times 1000.
    """
    half = dim // 2
    rates = torch.exp(torch.arange(half, device=time.device) * (-math.log(_LONGEST_PERIOD) / max(1, half - 1)))
    angles = _TIME_SCALE * time[:, None].float() * rates  # [B, dim / 2]
    return torch.cat([angles.sin(), angles.cos()], -1)


class MelField(nn.Module):
    """Noisy mel, condition, time and style → velocity of the mel."""

    def __init__(
        self, num_mels: int, cond_dim: int, hidden_dim: int, ffn_dim: int, num_layers: int, style_dim: int = 0
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.embed = nn.Conv1d(num_mels + cond_dim, hidden_dim, 7, padding=3)
        self.clock = nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, hidden_dim))
        if style_dim:
            self.style = nn.Linear(style_dim, hidden_dim)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(hidden_dim, ffn_dim, hidden_dim, 1 / num_layers) for _ in range(num_layers)
        )
        self.norm_out = StyledNorm(hidden_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, num_mels)
        nn.init.trunc_normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, condition: Tensor, time: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """x [B, M, L] at `time` [B] with condition [B, C, L] in the style g [B, G, 1] → velocities [B, M, L]."""
        state = self.clock(time_features(time, self.hidden_dim))  # [B, D]
        if g is not None:
            state = state + self.style(g[..., 0])
        frame_mask = mask.transpose(1, 2)  # [B, L, 1]
        x = self.embed(torch.cat([x, condition], 1) * mask).transpose(1, 2)  # [B, L, D]
        x = (x + state[:, None]) * frame_mask
        for block in self.blocks:
            x = block(x, state) * frame_mask
        return self.out(self.norm_out(x, state)).transpose(1, 2) * mask
