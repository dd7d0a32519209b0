"""Waveform → style vector: a magnitude spectrogram and the reference encoder of a detokenizer, standing alone.

Letters: B batch, S samples, F frequency bins, T frames, D style width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from omnikit.errors import OmnikitError
from omnikit.nn.spectrogram import Spectrogram
from omnikit.nn.style_encoder import StyleEncoder


class ReferenceEncoder(nn.Module):
    """A recording at `sample_rate` Hz → its style vector of length 1, each recording by itself."""

    def __init__(
        self,
        sample_rate: int,
        fft_size: int,
        hop_size: int,
        hidden_dim: int,
        style_dim: int,
        num_heads: int,
        kernel_size: int,
        compress: bool,
        mask_padding: bool,
    ) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(
            sample_rate, fft_size, hop_size, num_mels=1, min_hz=0.0, max_hz=sample_rate / 2
        )  # of which only the linear magnitudes are used
        self.encoder = StyleEncoder(
            self.spectrogram.num_bins, hidden_dim, style_dim, num_heads, kernel_size, 0.0, compress, mask_padding
        )

    def forward(self, wave: Tensor) -> Tensor:
        """One recording [S] of at least one hop → [D]."""
        return self.batch(wave[None], torch.tensor([len(wave)], device=wave.device))[0]

    def batch(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Recordings [B, S] of at least one hop each → [B, D]; what their rows give alone where padding is masked."""
        spectrum, frames = self.spectrogram.linear(wave, lengths)  # [B, F, T]
        mask = (torch.arange(spectrum.shape[-1], device=wave.device) < frames[:, None])[:, None].float()  # [B, 1, T]
        return self.encoder(spectrum, mask)


def part_of(module: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The reference encoder in a detokenizer: the sizes of a `ReferenceEncoder` (without the rate), and its weights.

    Raises `OmnikitError` where there is not exactly one.
    """
    spectra = [item for item in module.modules() if isinstance(item, Spectrogram)]
    encoders = [item for item in module.modules() if isinstance(item, StyleEncoder)]
    if len(spectra) != 1 or len(encoders) != 1:
        raise OmnikitError(
            f"{type(module).__name__} holds {len(encoders)} reference encoders and {len(spectra)} spectrograms; "
            "one of each is needed to copy them."
        )
    (spectrogram,), (encoder,) = spectra, encoders
    first, convolution = encoder.spectral[0].fc, encoder.temporal[0].conv1.conv
    if first.in_features != spectrogram.num_bins:
        raise OmnikitError(
            f"The reference encoder of {type(module).__name__} reads {first.in_features} bands, its spectrogram has "
            f"{spectrogram.num_bins} bins; only encoders of linear magnitudes can be copied."
        )
    sizes = {
        "fft_size": spectrogram.fft_size,
        "hop_size": spectrogram.hop_size,
        "hidden_dim": first.out_features,
        "style_dim": encoder.fc.fc.out_features,
        "num_heads": encoder.slf_attn.num_heads,
        "kernel_size": convolution.kernel_size[0],
        "compress": encoder.compress,
        "mask_padding": encoder.mask_padding,
    }
    return sizes, encoder.state_dict()
