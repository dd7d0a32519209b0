"""How far two sounds are apart: the reconstruction terms that EnCodec is trained with.

Letters: B batch, S samples, M mel bands, F frequency bins, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnikit.nn.spectrogram import Spectrogram

_NUM_MELS = 64
_SCALES = range(5, 12)
_TIME_WEIGHT, _MEL_WEIGHT = 0.1, 1.0


class Reconstruction(nn.Module):
    """0.1 times the mean error of samples, plus errors of mel bands over windows of 2⁵ to 2¹¹ samples.

    Every window's spectrum is divided by the energy of the window; its bands add their mean absolute error and the root
    of their mean square. Means over rows of each row's own samples and frames.

    Ref: Défossez et al., "High Fidelity Neural Audio Compression", TMLR 2023 (arXiv 2210.13438), section 3.4.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            Spectrogram(sample_rate, 2**scale, 2**scale // 4, _NUM_MELS, 0.0, sample_rate / 2) for scale in _SCALES
        )

    def forward(self, real: Tensor, fake: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Terms by name, weighted, of waves [B, S] with `lengths` [B]; what stands beyond them is not compared."""
        valid = torch.arange(real.shape[1], device=real.device) < lengths[:, None]  # [B, S]
        time = _mean((real - fake).abs() * valid, lengths)
        terms = [self._apart(scale, real, fake, lengths) for scale in self.scales]
        return {"time": _TIME_WEIGHT * time, "mel": _MEL_WEIGHT * torch.stack(terms).mean()}

    def _apart(self, scale: Spectrogram, real: Tensor, fake: Tensor, lengths: Tensor) -> Tensor:
        (one, frames), (other, _) = scale.linear(real, lengths), scale.linear(fake, lengths)  # [B, F, T]
        apart = scale.bank @ (one - other) / scale.window.square().sum().sqrt()  # [B, M, T], zero beyond each row
        count = frames.clamp(min=1) * _NUM_MELS
        squares = apart.square().sum((1, 2)) / count
        return _mean(apart.abs().flatten(1), count) + (squares + 1e-12).sqrt().mean()


def _mean(errors: Tensor, count: Tensor) -> Tensor:
    """The mean over rows of errors [B, N] that are zero where nothing counts."""
    return (errors.sum(1) / count).mean()
