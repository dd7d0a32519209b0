"""A small decoder that predicts log-mel frames from codes: the objective that asks for sound instead of words.

Letters: B batch, S samples, T steps, R mel frames a step, M mel bands, D width.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.errors import OmnikitError
from omnikit.nn.logmel import LogMel
from omnikit.nn.spiral import MaskedConv1d, valid_steps


class MelReconstruction(nn.Module):
    """Codes at `rate` Hz → log-mel frames at 100 Hz, and how far they are from those of the waveform.

    Four convolutions of five taps with ReLU and dropout, as in `nn.ctc`, then a linear layer to R x M numbers. The
    target is `nn.logmel`: zero mean and unit deviation a band and utterance, so an error of about 0.8 is that of
    predicting the mean.

    Raises `OmnikitError` where the mel rate is no multiple of `rate`.
    """

    def __init__(
        self, in_dim: int, dim: int, num_mels: int, rate: Fraction, dropout: float = 0.0, sample_rate: int = 16_000
    ) -> None:
        super().__init__()
        self.target = LogMel(num_mels, sample_rate)
        frames = Fraction(sample_rate, self.target.hop_size) / rate
        if frames.denominator != 1:
            raise OmnikitError(
                f"Mel frames at {sample_rate // self.target.hop_size} Hz cannot be told apart among steps at "
                f"{float(rate):g} Hz; their ratio must be whole."
            )
        self.num_frames, self.num_mels = int(frames), num_mels
        self.layers = nn.ModuleList(MaskedConv1d(width, dim, 5) for width in (in_dim, dim, dim, dim))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, self.num_frames * num_mels)

    def forward(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """Codes [B, T, D] with `lengths` [B] → log-mel frames [B, T R, M]."""
        x = codes
        for layer in self.layers:
            x, _ = layer(x, lengths)
            x = self.dropout(functional.relu(x))
        return self.out(x).unflatten(-1, (self.num_frames, self.num_mels)).flatten(1, 2)  # [B, T R, M]

    def errors(self, codes: Tensor, lengths: Tensor, wave: Tensor, samples: Tensor) -> Tensor:
        """Mean absolute error [B] of a row's frames, from waves [B, S] of `samples` [B] samples."""
        with torch.no_grad():
            target, frames = self.target(wave, samples)  # [B, M, T']
        found = self(codes, lengths)
        steps = min(found.shape[1], target.shape[2])
        valid = valid_steps(torch.minimum(frames, lengths * self.num_frames), steps)
        apart = (found[:, :steps].float() - target.transpose(1, 2)[:, :steps]).abs().mean(-1)  # [B, steps]
        return (apart * valid).sum(1) / valid.sum(1).clamp(min=1)
