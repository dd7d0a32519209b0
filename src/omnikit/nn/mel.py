"""Mel filter banks on the Slaney scale, computed from the formulas alone.

Letters: M mel bands, F frequency bins (fft_size // 2 + 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from omnikit.errors import OmnikitError

_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(hz: float) -> float:
    """Slaney's mel of a frequency in Hz: linear below 1 kHz, logarithmic above."""
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def mel_to_hz(mel: Tensor) -> Tensor:
    """Inverse of `hz_to_mel`, elementwise."""
    logarithmic = _BREAK_HZ * torch.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, logarithmic)


def mel_filter_bank(sample_rate: int, fft_size: int, num_mels: int, min_hz: float, max_hz: float) -> Tensor:
    """Triangular mel filters of unit area (2 / bandwidth in Hz), float32 [M, F].

    Args: rates and edges in Hz; `fft_size` in samples. Raises `OmnikitError` unless 0 <= min_hz < max_hz <= Nyquist.

    Ref: M. Slaney, "Auditory Toolbox", Technical Report 1998-010, Interval Research, 1998.
    """
    if not 0 <= min_hz < max_hz <= sample_rate / 2:
        raise OmnikitError(
            f"Mel bands from {min_hz:g} to {max_hz:g} Hz do not fit audio at {sample_rate} Hz.\n"
            f"Accepted: 0 <= min_hz < max_hz <= {sample_rate / 2:g} (half the sample rate)."
        )
    if num_mels < 1:
        raise OmnikitError(f"num_mels is {num_mels}; a filter bank needs at least 1 band.")
    bins = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)  # [F]
    lowest, highest = hz_to_mel(min_hz), hz_to_mel(max_hz)
    places = torch.arange(num_mels + 2, dtype=torch.float64) / (num_mels + 1)
    edges = mel_to_hz(lowest + (highest - lowest) * places)[:, None]  # [M + 2, 1]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - low) / (centre - low)  # [M, F]
    falling = (high - bins) / (high - centre)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2.0 / (high - low))).float()
