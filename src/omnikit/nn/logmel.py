"""Log-mel front end with per-utterance normalisation; every row of a batch is treated as if it were alone.

Letters: B batch, S samples, M mel bands, F frequency bins, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.folding import Remade
from omnikit.nn.mel import mel_filter_bank
from omnikit.nn.packed import PackedMatrix, inference_dtype

EMPHASIS = 0.97
GUARD = 2.0**-24


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

    reflects_batch: bool = False
    """Reflect at the end of the padded batch, as the published code does, so that shorter rows hear its zeros."""

    def __init__(
        self, num_mels: int, sample_rate: int = 16_000, hop_size: int = 160, window_size: int = 320, pad_to: int = 16
    ) -> None:
        super().__init__()
        self.sample_rate, self.hop_size, self.pad_to = sample_rate, hop_size, pad_to
        self.fft_size = 1 << (window_size - 1).bit_length()
        bank = mel_filter_bank(sample_rate, self.fft_size, num_mels, 0.0, sample_rate / 2)
        self.register_buffer("fb", bank[None])  # [1, M, F]
        self.register_buffer("window", torch.hann_window(window_size, periodic=False))
        self._packed: Remade[PackedMatrix] = Remade()

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Valid frames of rows with `lengths` valid samples."""
        return (lengths + self.hop_size - 1).div(self.hop_size, rounding_mode="floor")

    def forward(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mel frames [B, M, T] and valid frames [B] of waves [B, S] with `lengths` [B] >= 1 valid samples."""
        with torch.autocast(wave.device.type, enabled=False):
            return self._forward(wave.float(), lengths)

    def _forward(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        is_padded = bool((lengths < wave.shape[1]).any())
        if is_padded:
            wave = wave.masked_fill(torch.arange(wave.shape[1], device=wave.device) >= lengths[:, None], 0.0)
        wave = wave / (wave.abs().amax(1, keepdim=True) + 1e-5)
        wave = torch.cat([wave[:, :1], torch.sub(wave[:, 1:], wave[:, :-1], alpha=EMPHASIS)], dim=1)
        wave = self._reflect(wave, lengths if is_padded and not self.reflects_batch else None)
        frames = self.frame_lengths(lengths)
        num_frames = (wave.shape[1] - self.fft_size + self.hop_size - 1) // self.hop_size
        mel = self.normalised(self._log_mel(wave)[:, :num_frames], frames, is_padded)
        return functional.pad(mel, (0, 0, 0, -num_frames % self.pad_to)).transpose(1, 2), frames

    def peak(self, row: Tensor) -> Tensor:
        """What a row [S] is divided by."""
        return torch.stack(torch.aminmax(row)).abs().amax() + 1e-5  # without a copy of the row

    def stretch(self, row: Tensor, start: int, end: int, peak: Tensor) -> Tensor:
        """Frames `start` to `end` of one row [S], not normalised: [T, M]; costs memory for those frames only."""
        with torch.autocast(row.device.type, enabled=False):
            margin = self.fft_size // 2
            first, last = start * self.hop_size - margin, (end - 1) * self.hop_size + margin
            if first > 0 and last <= len(row):
                now, before = row[first:last], row[first - 1 : last - 1]
            else:
                place = mirrored(torch.arange(first, last, device=row.device), torch.tensor(len(row)).to(row.device))
                now, before = row[place], row[(place - 1).clamp(min=0)] * (place > 0)
            return self._log_mel(((now.float() - EMPHASIS * before.float()) / peak.float())[None])[0]

    def _log_mel(self, wave: Tensor) -> Tensor:
        """Logarithms [B, T, M] of waves [B, S] whose frames begin at every hop."""
        spectrum = torch.stft(
            wave,
            self.fft_size,
            self.hop_size,
            self.window.numel(),
            self.window,
            center=False,
            return_complex=True,
        )  # [B, F, T]
        power = (spectrum.real.square() + spectrum.imag.square()).transpose(1, 2)  # [B, T, F]
        if inference_dtype(power) is None:
            return torch.log(functional.linear(power, self.fb[0]) + GUARD)
        bank = self._packed.get(
            [self.fb], lambda: PackedMatrix(self.fb[0], self.fb.new_zeros(self.fb.shape[1]), self.fb.dtype)
        )
        return bank(power).add_(GUARD).log_()

    def _reflect(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        """Half a window of mirror image before each row and after its end: [B, S] → [B, S + fft_size].

        A row ends where `lengths` says, at S without them.
        """
        margin, num_samples = self.fft_size // 2, wave.shape[1]
        if lengths is None and num_samples > margin:
            return functional.pad(wave, (margin, margin), mode="reflect")
        if lengths is None:
            lengths = torch.full(wave.shape[:1], num_samples, device=wave.device)
        offset = torch.arange(margin, device=wave.device)
        after = lengths[:, None] + offset
        place = torch.cat([(offset - margin).expand_as(after), after], dim=1)  # [B, fft_size], beyond both ends
        mirror = wave.gather(1, mirrored(place, lengths[:, None]))
        return functional.pad(wave, (margin, margin)).scatter(1, place + margin, mirror)

    @staticmethod
    def normalised(mel: Tensor, frames: Tensor, is_padded: bool) -> Tensor:
        """Zero mean, unit (unbiased) deviation over the valid frames; zeros elsewhere. A single frame becomes zeros."""
        count = frames[:, None, None]
        padding = torch.arange(mel.shape[1], device=mel.device) >= frames[:, None]  # [B, T]
        mel = mel.masked_fill(padding[..., None], 0.0) if is_padded else mel
        centred = mel - mel.sum(1, keepdim=True) / count
        centred = centred.masked_fill(padding[..., None], 0.0) if is_padded else centred
        deviation = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
        return centred / (deviation + 1e-5)


def mirrored(place: Tensor, length: Tensor) -> Tensor:
    """The sample that stands at `place` when a row of `length` samples is mirrored at both ends, over and over."""
    period = (2 * (length - 1)).clamp(min=1)
    place = place.remainder(period)
    return torch.minimum(place, 2 * (length - 1) - place).clamp(min=0)
