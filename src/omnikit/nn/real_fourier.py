"""Fourier transforms as convolutions of real numbers, for graphs that leave PyTorch and know no complex ones.

The values are those of `nn.logmel` and `nn.istft_head` up to the order of summation; a Fourier transform costs more
this way, which is why only graphs for other runtimes are made of it.

Letters: B batch, S samples, M mel bands, F frequency bins, N transform size, W window size, T frames, G style width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.folding import folded
from omnikit.nn.istft_head import IstftHead
from omnikit.nn.logmel import EMPHASIS, GUARD, LogMel, mirrored
from omnikit.nn.source_head import SourceHead


def _waves(samples: Tensor, fft_size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [F, W] of every frequency at the places `samples` [W], in double precision."""
    bins = torch.arange(fft_size // 2 + 1, dtype=torch.float64, device=samples.device)
    turns = (bins[:, None] * samples.double()).remainder(fft_size) / fft_size
    return (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()


def analysis_kernel(window: Tensor, fft_size: int) -> Tensor:
    """A kernel [2 · F, 1, W]: a convolution with it gives real and imaginary parts of windowed frames of W samples.

    A window shorter than `fft_size` stands in its middle, as for `torch.stft`.
    """
    start = (fft_size - len(window)) // 2
    cosines, sines = _waves(torch.arange(start, start + len(window), device=window.device), fft_size)
    return (torch.cat([cosines, -sines]) * window.double()).float()[:, None]


def synthesis_kernel(window: Tensor, fft_size: int) -> Tensor:
    """A kernel [2 · F, 1, N]: a transposed convolution of real and imaginary parts with it lays down windowed frames.

    Every frame is the inverse transform of its spectrum, as `torch.fft.irfft` gives it: inner bins count twice, the
    imaginary parts of the first and the last not at all.
    """
    cosines, sines = _waves(torch.arange(fft_size, device=window.device), fft_size)
    twice = torch.full((fft_size // 2 + 1, 1), 2.0, dtype=torch.float64, device=window.device)
    twice[0] = twice[-1] = 1.0
    return (torch.cat([twice * cosines, -twice * sines]) * window.double() / fft_size).float()[:, None]


class RealLogMel(nn.Module):
    """`nn.logmel.LogMel` of rows that are heard whole: no padding, any number of samples."""

    fb: Tensor
    kernel: Tensor

    def __init__(self, front_end: LogMel) -> None:
        super().__init__()
        self.fft_size, self.hop_size = front_end.fft_size, front_end.hop_size
        self.offset = (self.fft_size - len(front_end.window)) // 2
        self.register_buffer("fb", front_end.fb)  # [1, M, F]
        self.register_buffer("kernel", analysis_kernel(front_end.window, self.fft_size))

    def forward(self, wave: Tensor) -> Tensor:
        """Waves [B, S] → normalised log-mel frames [B, T, M], T = ceil(S / hop)."""
        num_samples = wave.shape[1]
        num_frames = (num_samples + self.hop_size - 1) // self.hop_size
        wave = wave / (wave.abs().amax(1, keepdim=True) + 1e-5)
        wave = torch.cat([wave[:, :1], wave[:, 1:] - EMPHASIS * wave[:, :-1]], dim=1)
        margin = self.fft_size // 2
        place = torch.arange(-margin, num_samples + margin, device=wave.device)
        wave = wave[:, mirrored(place, torch.ones_like(wave[0]).long().sum())]  # [B, S + N]
        spectrum = functional.conv1d(wave[:, None, self.offset :], self.kernel, stride=self.hop_size)[..., :num_frames]
        real, imaginary = spectrum.chunk(2, 1)  # [B, F, T]
        mel = torch.log(self.fb @ (real.square() + imaginary.square()) + GUARD).transpose(1, 2)  # [B, T, M]
        frames = torch.ones_like(mel[..., 0]).long().sum(1)  # [B]
        return LogMel.normalised(mel, frames, is_padded=False)


class RealIstftHead(nn.Module):
    """`nn.istft_head.IstftHead` with the weights of `head`."""

    kernel: Tensor
    weight: Tensor

    def __init__(self, head: IstftHead) -> None:
        super().__init__()
        self.head = folded(head)
        self.register_buffer("kernel", synthesis_kernel(head.window, head.fft_size))
        self.register_buffer("weight", head.window.square()[None, None])  # [1, 1, N]

    def forward(self, z: Tensor, g: Tensor | None = None) -> Tensor:
        """Latents z [B, C, T] in the style g [B, G, 1] → waveform [B, 1, S]."""
        spectrum = torch.cat(self._spectrum(z, g), -1).transpose(1, 2)  # [B, 2 · F, T]
        hop_size = self.head.hop_size
        wave = functional.conv_transpose1d(spectrum, self.kernel, stride=hop_size)  # [B, 1, (T - 1) · hop + N]
        weight = functional.conv_transpose1d(torch.ones_like(spectrum[:1, :1]), self.weight, stride=hop_size)
        edge = (self.head.fft_size - hop_size) // 2
        return (wave / weight.clamp(min=1e-8))[..., edge : edge + z.shape[-1] * hop_size]

    def _spectrum(self, z: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts [B, T, F] of the sound's frames."""
        return self.head.spectrum(self.head.predicted(z, g))


class RealSourceHead(RealIstftHead):
    """`nn.source_head.SourceHead` with the weights of `head`."""

    head: SourceHead
    analysis: Tensor

    def __init__(self, head: SourceHead) -> None:
        super().__init__(head)
        self.register_buffer("analysis", analysis_kernel(head.window, head.fft_size))

    def _spectrum(self, z: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
        head, edge = self.head, (self.head.fft_size - self.head.hop_size) // 2
        driving = torch.cat(head.source(head.clock()(head.ends(z, g))))  # [2 · B, S]
        padded = functional.pad(driving[:, None], (edge, edge))
        spectra = functional.conv1d(padded, self.analysis, stride=head.hop_size).transpose(1, 2)  # [2 · B, T, 2 · F]
        pulses, noise = spectra.chunk(2)
        return head.filtered(head.predicted(z, g), _parts(pulses), _parts(noise))


def _parts(spectra: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts [B, T, F] of spectra that hold both [B, T, 2 · F]."""
    real, imaginary = spectra.chunk(2, -1)
    return real, imaginary
