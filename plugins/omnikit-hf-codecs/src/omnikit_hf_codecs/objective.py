"""How far two sounds are apart on mel scales: the reconstruction term that residual codecs are trained with.

Letters: B batch, S samples, M mel bands, F frequency bins, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnikit.nn.spectrogram import Spectrogram

_BANDS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
"""Window in samples → mel bands."""


class MelDistance(nn.Module):
    """Mean absolute error of log-mel bands over windows of 32 to 2048 samples, a quarter of a window apart.

    Ref: Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023 (arXiv 2306.06546), section
    3.5 (sum over scales there, their mean here; natural logarithms).
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            Spectrogram(sample_rate, size, size // 4, bands, 0.0, sample_rate / 2) for size, bands in _BANDS.items()
        )

    def forward(self, real: Tensor, fake: Tensor, lengths: Tensor) -> Tensor:
        """The distance of waves [B, S] within their `lengths` [B], a mean over rows."""
        return torch.stack([self._apart(scale, real, fake, lengths) for scale in self.scales]).mean()

    def _apart(self, scale: Spectrogram, real: Tensor, fake: Tensor, lengths: Tensor) -> Tensor:
        (one, frames), (other, _) = scale.linear(real, lengths), scale.linear(fake, lengths)  # [B, F, T]
        apart = (scale.log_mel(one) - scale.log_mel(other)).abs().mean(1)  # [B, T], zero beyond each row
        return (apart.sum(1) / frames.clamp(min=1)).mean()
