"""Log-mel front end with per-utterance normalisation; every row of a batch is treated as if it were alone.

Letters: B batch, S samples, M mel bands, F frequency bins, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.mel import mel_filter_bank


class LogMel(nn.Module):
    """Waveforms → log-mel frames, zero mean and unit deviation a band and utterance.

    Peak normalisation, pre-emphasis 0.97, Hann window of 20 ms every 10 ms inside the next power of two, power
    spectrum, Slaney mel bands up to the Nyquist frequency, natural logarithm. A row is reflected at its own end, so
    padding never shows in the numbers. `ceil(samples / hop_size)` frames are valid; the time axis is zero-padded to a
    multiple of `pad_to`.

    Dither is left out: at 1e-5 of the peak it lies far below the guard of the logarithm.
    Ref: Chen et al., "EMOVA", 2024 (speech tokenizer); Huang et al., "SPIRAL", 2022 (front end).
    """

    fb: Tensor
    window: Tensor

    def __init__(
        self, num_mels: int, sample_rate: int = 16_000, hop_size: int = 160, window_size: int = 320, pad_to: int = 16
    ) -> None:
        super().__init__()
        self.hop_size, self.pad_to = hop_size, pad_to
        self.fft_size = 1 << (window_size - 1).bit_length()
        bank = mel_filter_bank(sample_rate, self.fft_size, num_mels, 0.0, sample_rate / 2)
        self.register_buffer("fb", bank[None])  # [1, M, F]
        self.register_buffer("window", torch.hann_window(window_size, periodic=False))

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Valid frames of rows with `lengths` valid samples."""
        return (lengths + self.hop_size - 1).div(self.hop_size, rounding_mode="floor")

    def forward(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mel frames [B, M, T] and valid frames [B] of waves [B, S] with `lengths` [B] >= 1 valid samples."""
        with torch.autocast(wave.device.type, enabled=False):
            return self._forward(wave.float(), lengths)

    def _forward(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        wave = wave * (torch.arange(wave.shape[1], device=wave.device) < lengths[:, None])
        wave = wave / (wave.abs().amax(1, keepdim=True) + 1e-5)
        wave = torch.cat([wave[:, :1], wave[:, 1:] - 0.97 * wave[:, :-1]], dim=1)
        spectrum = torch.stft(
            self._reflect(wave, lengths),
            self.fft_size,
            self.hop_size,
            self.window.numel(),
            self.window,
            center=False,
            return_complex=True,
        )  # [B, F, T]
        frames = self.frame_lengths(lengths)
        num_frames = -(-wave.shape[1] // self.hop_size)
        spectrum = spectrum[..., :num_frames]
        mel = torch.matmul(self.fb, spectrum.real.square() + spectrum.imag.square())  # [B, M, T]
        mel = self._normalise(torch.log(mel + 2.0**-24), frames)
        return functional.pad(mel, (0, -num_frames % self.pad_to)), frames

    def _reflect(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Half a window of mirror image before each row and after its own end: [B, S] → [B, S + fft_size]."""
        margin = self.fft_size // 2
        last = (lengths - 1)[:, None]  # [B, 1]
        place = torch.arange(-margin, wave.shape[1] + margin, device=wave.device)[None]  # [1, S + fft_size]
        place = place.remainder((2 * last).clamp(min=1))
        return wave.gather(1, torch.minimum(place, 2 * last - place).clamp(min=0))

    @staticmethod
    def _normalise(mel: Tensor, frames: Tensor) -> Tensor:
        """Zero mean, unit (unbiased) deviation over the valid frames; zeros elsewhere. A single frame becomes zeros."""
        valid = (torch.arange(mel.shape[-1], device=mel.device) < frames[:, None])[:, None]  # [B, 1, T]
        count = frames[:, None, None]
        centred = (mel - (mel * valid).sum(-1, keepdim=True) / count) * valid
        deviation = (centred.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
        return centred / (deviation + 1e-5)
