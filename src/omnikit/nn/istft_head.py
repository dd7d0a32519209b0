"""A vocoder at frame rate: ConvNeXt blocks predict magnitude and phase, an inverse Fourier transform makes the sound.

Letters: B batch, C channels, D width, T frames, F frequency bins, N transform size, S = T · hop samples, G style width.

Ref: Siuzdak, "Vocos", ICLR 2024, sections 3.1 and 3.3; Liu et al., "A ConvNet for the 2020s", CVPR 2022, section 2;
style by adaptive layer norm: Chen et al., "AdaSpeech", ICLR 2021, section 2.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_LOG_MAGNITUDE = 4.6
_KERNEL = 7


def head_reach(num_layers: int, fft_size: int, hop_size: int) -> int:
    """Frames to either side that the sound of a frame depends on."""
    return (num_layers + 1) * (_KERNEL // 2) + math.ceil((fft_size - hop_size) / 2 / hop_size)


def _start_small(layer: nn.Conv1d | nn.Linear) -> None:
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)


class StyledNorm(nn.Module):
    """Layer norm whose scale and shift come from the style; plain where there is none."""

    def __init__(self, dim: int, style_dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))
        self.shift = nn.Parameter(torch.zeros(dim))
        if style_dim:
            self.cond = nn.Linear(style_dim, 2 * dim)
            nn.init.zeros_(self.cond.weight)
            nn.init.zeros_(self.cond.bias)

    def forward(self, x: Tensor, g: Tensor | None) -> Tensor:
        """Frames x [B, T, D] in the style g [B, G] → [B, T, D]."""
        x = functional.layer_norm(x, self.scale.shape, self.scale, self.shift, 1e-6)
        if g is None:
            return x
        scale, shift = self.cond(g)[:, None].chunk(2, -1)  # [B, 1, D]
        return x * (1 + scale) + shift


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, norm, and a wide pointwise layer, added with a learnt small gain."""

    def __init__(self, dim: int, hidden_dim: int, style_dim: int, gain: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, _KERNEL, padding=_KERNEL // 2, groups=dim)
        self.norm = StyledNorm(dim, style_dim)
        self.widen = nn.Linear(dim, hidden_dim)
        self.narrow = nn.Linear(hidden_dim, dim)
        self.gain = nn.Parameter(torch.full((dim,), gain))
        for layer in (self.depthwise, self.widen, self.narrow):
            _start_small(layer)

    def forward(self, x: Tensor, g: Tensor | None) -> Tensor:
        """Frames x [B, T, D] in the style g [B, G] → [B, T, D]."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.narrow(functional.gelu(self.widen(self.norm(y, g))))
        return x + self.gain * y


def overlap_add(frames: Tensor, hop_size: int) -> Tensor:
    """Sum of frames [B, T, N] laid `hop_size` apart → [B, (T - 1) · hop + N]."""
    num_frames, size = frames.shape[1:]
    out = functional.fold(
        frames.transpose(1, 2), (1, (num_frames - 1) * hop_size + size), (1, size), stride=(1, hop_size)
    )
    return out[:, 0, 0]


class IstftHead(nn.Module):
    """Latent frames → waveform of exactly hop_size samples a frame."""

    num_parts = 2
    """Numbers that are predicted for every bin: a log magnitude and a phase."""
    window: Tensor

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        ffn_dim: int,
        num_layers: int,
        fft_size: int,
        hop_size: int,
        style_dim: int = 0,
    ) -> None:
        super().__init__()
        self.fft_size, self.hop_size = fft_size, hop_size
        self.reach = head_reach(num_layers, fft_size, hop_size)
        self.embed = nn.Conv1d(in_dim, hidden_dim, _KERNEL, padding=_KERNEL // 2)
        self.norm_in = StyledNorm(hidden_dim, style_dim)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(hidden_dim, ffn_dim, style_dim, 1 / num_layers) for _ in range(num_layers)
        )
        self.norm_out = StyledNorm(hidden_dim, style_dim)
        self.out = nn.Linear(hidden_dim, self.num_parts * (fft_size // 2 + 1))
        for layer in (self.embed, self.out):
            _start_small(layer)
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def forward(self, z: Tensor, g: Tensor | None = None) -> Tensor:
        """Latents z [B, C, T] in the style g [B, G, 1] → waveform [B, 1, S]."""
        x = self.predicted(z, g)
        with torch.autocast(x.device.type, enabled=False):
            return self.synthesise(x.float())[:, None]

    def predicted(self, z: Tensor, g: Tensor | None = None) -> Tensor:
        """Log magnitudes and phases side by side [B, T, 2 · F] of latents z [B, C, T] in the style g [B, G, 1]."""
        style = None if g is None else g[..., 0]
        x = self.norm_in(self.embed(z).transpose(1, 2), style)  # [B, T, D]
        for block in self.blocks:
            x = block(x, style)
        return self.out(self.norm_out(x, style))  # [B, T, N + 2]

    @staticmethod
    def spectrum(x: Tensor) -> tuple[Tensor, Tensor]:
        """Log magnitudes and phases side by side [B, T, 2 · F] → real and imaginary parts [B, T, F]."""
        log_magnitude, phase = x.chunk(2, -1)
        magnitude = log_magnitude.clamp(max=MAX_LOG_MAGNITUDE).exp()
        return magnitude * phase.cos(), magnitude * phase.sin()

    def synthesise(self, x: Tensor) -> Tensor:
        """Log magnitudes and phases side by side [B, T, 2 · F] → waveform [B, S]."""
        return self.laid(*self.spectrum(x))

    def laid(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Spectra of frames, real and imaginary parts [B, T, F] → waveform [B, S]."""
        frames = torch.fft.irfft(torch.complex(real, imaginary), self.fft_size)
        wave = overlap_add(frames * self.window, self.hop_size)
        weight = overlap_add(self.window.square().expand(1, real.shape[1], -1), self.hop_size)
        edge = (self.fft_size - self.hop_size) // 2
        num_samples = real.shape[1] * self.hop_size
        return (wave / weight.clamp(min=1e-8))[:, edge : edge + num_samples]
