"""Magnitude and log-mel spectrograms of padded batches, as vocoders of the HiFi-GAN family are trained on.

Letters: B batch, S samples, T frames (S // hop), F frequency bins, M mel bands.
Every row is reflected at its own end, so that a padded batch gives the same frames as single recordings.

Ref: Kong et al., "HiFi-GAN", NeurIPS 2020, section 3; |X| = sqrt(re² + im² + 1e-6), log(max(mel, 1e-5)).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnikit.nn.mel import mel_filter_bank

_POWER_FLOOR = 1e-6
_MEL_FLOOR = 1e-5


def reflect_rows(wave: Tensor, lengths: Tensor, padding: int) -> Tensor:
    """Mirror every row of `wave` [B, S] at both of its ends by `padding` samples → [B, S + 2 · padding]."""
    at = torch.arange(-padding, wave.shape[1] + padding, device=wave.device)[None]  # [1, S + 2P]
    last = (lengths - 1).clamp(min=0)[:, None]  # [B, 1]
    mirrored = torch.where(at.abs() > last, 2 * last - at.abs(), at.abs())
    rows = wave.gather(1, mirrored.clamp(min=0).minimum(last))
    return rows * (at < lengths[:, None] + padding)


class Spectrogram(nn.Module):
    """Short-time spectra of audio, window = `fft_size`, without any parameter or saved buffer."""

    def __init__(
        self, sample_rate: int, fft_size: int, hop_size: int, num_mels: int, min_hz: float, max_hz: float
    ) -> None:
        super().__init__()
        self.fft_size, self.hop_size, self.num_bins = fft_size, hop_size, fft_size // 2 + 1
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        bank = mel_filter_bank(sample_rate, fft_size, num_mels, min_hz, max_hz)
        self.register_buffer("bank", bank, persistent=False)  # [M, F]

    def linear(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waves [B, S] → magnitudes [B, F, T], zero beyond each row's frames, and the frames of every row [B]."""
        frames = lengths // self.hop_size
        with torch.autocast(wave.device.type, enabled=False):
            rows = reflect_rows(wave.float(), lengths, (self.fft_size - self.hop_size) // 2)
            windows = rows.unfold(1, self.fft_size, self.hop_size) * self.window  # [B, T, fft]
            spectrum = torch.fft.rfft(windows).transpose(1, 2)  # [B, F, T]
            magnitude = (spectrum.real.square() + spectrum.imag.square() + _POWER_FLOOR).sqrt()
        valid = torch.arange(magnitude.shape[-1], device=wave.device) < frames[:, None]
        return magnitude * valid[:, None], frames

    def log_mel(self, magnitude: Tensor) -> Tensor:
        """Magnitudes [B, F, T] → natural logarithms of mel bands [B, M, T]."""
        with torch.autocast(magnitude.device.type, enabled=False):
            return (self.bank @ magnitude.float()).clamp(min=_MEL_FLOOR).log()
