"""The grouped parameters of `detokenizer/cfm_mel`: every key and its default.

Ref: sizes near those of Mehta et al., "Matcha-TTS", ICASSP 2024, section 3.1, and of Siuzdak, "Vocos", ICLR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MelSizes:
    """The mel spectrogram: its spectra, bands, and `mean` and `std` of its natural logarithms in the training audio."""

    fft_size: int = 1024
    hop_size: int = 256
    num_mels: int = 80
    min_hz: float = 0.0
    max_hz: float = 8000.0
    mean: float = -5.5
    std: float = 2.1


@dataclass(frozen=True)
class UnitSizes:
    """Units → what every unit says."""

    hidden_dim: int = 192
    filter_dim: int = 768
    num_heads: int = 2
    num_layers: int = 6
    kernel_size: int = 3
    dropout: float = 0.1


@dataclass(frozen=True)
class LengthSizes:
    """Duration predictor."""

    filter_dim: int = 256
    kernel_size: int = 3
    dropout: float = 0.1


@dataclass(frozen=True)
class StyleSizes:
    """Reference encoder: a recording's spectrum → style vector (see `nn.style_encoder`)."""

    hidden_dim: int = 192
    num_heads: int = 2
    kernel_size: int = 5
    dropout: float = 0.1


@dataclass(frozen=True)
class FieldSizes:
    """Velocity field of the mel."""

    hidden_dim: int = 384
    ffn_dim: int = 1152
    num_layers: int = 10


@dataclass(frozen=True)
class VocoderSizes:
    """Mel → waveform."""

    hidden_dim: int = 512
    ffn_dim: int = 1536
    num_layers: int = 8


@dataclass(frozen=True)
class GoalSizes:
    """The training objective.

    `sigma_min` is what is left of the noise at the end of the path; the vocoder learns on stretches of `segment_frames`
    recorded mel frames, by a mel loss and a spectral loss over windows of `stft_sizes` samples, before its adversary.
    """

    sigma_min: float = 1e-4
    segment_frames: int = 64
    mel_weight: float = 45.0
    stft_sizes: tuple[int, ...] = (512, 1024, 2048)
    stft_weight: float = 20.0
