"""The grouped parameters of `detokenizer/uvits`: every key and its published value.

Ref: sizes of Kim et al., VITS, ICML 2021, section 3 and appendix A; of Kong et al., HiFi-GAN V1, NeurIPS 2020; of
Siuzdak, Vocos, ICLR 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from omnikit.errors import OmnikitError


@dataclass(frozen=True)
class SpectrogramSizes:
    """The spectra of training targets; `hop_size` samples are one latent frame."""

    fft_size: int = 1024
    hop_size: int = 256
    num_mels: int = 80
    min_hz: float = 0.0
    max_hz: float = 11_025.0


@dataclass(frozen=True)
class UnitEncoderSizes:
    """Units → prior. `symbol_offset` rows of the embedding table precede the units."""

    symbol_offset: int = 178
    hidden_dim: int = 192
    filter_dim: int = 768
    num_heads: int = 2
    num_layers: int = 6
    kernel_size: int = 3
    dropout: float = 0.1


@dataclass(frozen=True)
class LatentSizes:
    """The latent frames (`dim` channels), the posterior that reads them from spectra, and the flow to the prior.

    Layout `frame` can refine the prior within units by a network of `frame_prior_layers` (published: none).
    """

    dim: int = 192
    hidden_dim: int = 192
    kernel_size: int = 5
    posterior_layers: int = 16
    flow_layers: int = 4
    num_flows: int = 4
    frame_prior_layers: int = 0


@dataclass(frozen=True)
class DurationSizes:
    """Duration predictor: `num_flows` belongs to layout `reduced`; `filter_dim` and whether its gradients reach the
    style vector (`teaches_style`) to layout `frame`."""

    kernel_size: int = 3
    dropout: float = 0.5
    num_flows: int = 4
    filter_dim: int = 256
    teaches_style: bool = False


@dataclass(frozen=True)
class ReferenceSizes:
    """Reference encoder (see `nn.style_encoder`); `num_speakers` rows of an unused table of published weights."""

    hidden_dim: int = 192
    num_heads: int = 2
    kernel_size: int = 5
    dropout: float = 0.1
    compress: bool = False
    mask_padding: bool = False
    num_speakers: int = 0


@dataclass(frozen=True)
class HifiganSizes:
    """Head `hifigan`: the product of `rates` is the hop size."""

    hidden_dim: int = 512
    rates: tuple[int, ...] = (8, 8, 2, 2)
    rate_kernels: tuple[int, ...] = (16, 16, 4, 4)
    kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))


@dataclass(frozen=True)
class IstftSizes:
    """Head `istft`: ConvNeXt blocks at frame rate; with `source` they filter pulses and noise (`nn.source_head`)."""

    hidden_dim: int = 512
    ffn_dim: int = 1536
    num_layers: int = 8
    source: bool = False


@dataclass(frozen=True)
class DiscriminatorSizes:
    """The adversary of training."""

    scale_channels: tuple[int, ...] = (16, 64, 256, 1024, 1024, 1024)
    scale_groups: tuple[int, ...] = (1, 4, 16, 64, 256, 1)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)


@dataclass(frozen=True)
class ObjectiveSizes:
    """The training objective: frames of the decoded segment and weights of the terms.

    `stft_sizes` are the windows of a multi-resolution spectral loss beside the mel loss (published: none);
    `pitch_weight` belongs to a head with a source, whose latents learn to hold the pitch.
    """

    segment_frames: int = 32
    mel_weight: float = 45.0
    kl_weight: float = 1.0
    stft_sizes: tuple[int, ...] = ()
    stft_weight: float = 20.0
    pitch_weight: float = 5.0


def check_sizes(
    spectrogram: SpectrogramSizes, units: UnitEncoderSizes, latent: LatentSizes, hifigan: HifiganSizes | None
) -> None:
    """Raise `OmnikitError` for sizes that no model can have."""
    fft, hop = spectrogram.fft_size, spectrogram.hop_size
    if fft % 2 or hop > fft or (fft - hop) % 2:
        raise OmnikitError(
            f"spectrogram.fft_size {fft} and spectrogram.hop_size {hop} do not go together.\n"
            "Accepted: even fft_size, hop_size at most as large and even too (1024 and 256 for example)."
        )
    if units.hidden_dim % units.num_heads:
        raise OmnikitError(
            f"unit_encoder.hidden_dim {units.hidden_dim} cannot be shared among num_heads {units.num_heads}.\n"
            f"The nearest width that can: {math.ceil(units.hidden_dim / units.num_heads) * units.num_heads}."
        )
    if latent.dim % 2:
        raise OmnikitError(f"latent.dim {latent.dim} is odd; couplings split it in halves. Take {latent.dim + 1}.")
    if hifigan is None:
        return
    if math.prod(hifigan.rates) != hop:
        raise OmnikitError(
            f"hifigan.rates {list(hifigan.rates)} make {math.prod(hifigan.rates)} samples a frame, "
            f"spectrogram.hop_size is {hop}.\nTheir product must be the hop size."
        )
    if len(hifigan.rates) != len(hifigan.rate_kernels) or len(hifigan.kernels) != len(hifigan.dilations):
        raise OmnikitError(
            f"hifigan.rates and .rate_kernels have {len(hifigan.rates)} and {len(hifigan.rate_kernels)} entries, "
            f".kernels and .dilations {len(hifigan.kernels)} and {len(hifigan.dilations)}; pairs must match."
        )
