"""A prior that moves within units: what a unit says, refined for every one of its frames.

A unit's prior is one point that all its frames share, and the flow alone would have to bend it into speech. Here a
small network sees the states of the neighbouring units at frame rate, the place within the unit and the style.

Letters: B batch, H unit width, C latent channels, L frames, T units, G style width. Masks are [B, 1, L].

Ref: Zhang et al., "VISinger", ICASSP 2022, section 2.2 (frame prior network).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnikit.nn.flow import WN


def place_in_unit(durations: Tensor, path: Tensor) -> Tensor:
    """How far every frame is through its unit, in (0, 1): whole durations [B, T] and path [B, L] → [B, L]."""
    length = durations.gather(1, path).clamp(min=1)
    start = (durations.cumsum(1) - durations).gather(1, path)
    frame = torch.arange(path.shape[1], device=path.device)
    return ((frame - start + 0.5) / length).clamp(0, 1)


class FramePrior(nn.Module):
    """Corrections of the prior's mean and log scale at frame rate; nothing is corrected before training."""

    def __init__(
        self, unit_dim: int, latent_dim: int, hidden_dim: int, kernel_size: int, num_layers: int, style_dim: int
    ) -> None:
        super().__init__()
        self.pre = nn.Conv1d(unit_dim + 1, hidden_dim, 1)
        self.enc = WN(hidden_dim, kernel_size, num_layers, style_dim)
        self.proj = nn.Conv1d(hidden_dim, 2 * latent_dim, 1)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    @property
    def reach(self) -> int:
        """Frames to either side that a frame's prior depends on."""
        return self.enc.reach

    def forward(
        self, hidden: Tensor, place: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor, g: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log scale [B, C, L] from those of the units, their states [B, H, L] and `place` [B, L]."""
        x = self.pre(torch.cat([hidden, place[:, None].to(hidden)], 1)) * mask  # [B, H', L]
        shift, widening = self.proj(self.enc(x, mask, g)).chunk(2, 1)
        return (mean + shift) * mask, (log_scale + widening) * mask
