"""What a voice does in one utterance: how long, how high, how lively, how loud, how bright.

Letters: S samples, T frames, F frequency bins, B third-octave bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from omnikit.metrics.prosody import median_pitch

FRAME_S = 0.032
TILT_BANDS_HZ = tuple(250.0 * 2 ** (band / 3) for band in range(14))
"""Centres of the third-octave bands that the tilt is a line through: 250 Hz to 5 kHz."""
ACTIVE_DB = 40.0


@dataclass(frozen=True)
class Voice:
    """Measures of an utterance; NaN where there is none.

    `seconds`, median `f0_hz`, `level_db` below full scale, `tilt` in dB an octave.
    """

    seconds: float
    f0_hz: float
    level_db: float
    tilt: float


def voice_of(wave: np.ndarray, sample_rate: int) -> Voice:
    """The measures of `wave` [S]; what cannot be measured is NaN."""
    return Voice(
        seconds=len(wave) / sample_rate,
        f0_hz=median_pitch(wave, sample_rate).median_hz,
        level_db=level_db(wave),
        tilt=spectral_tilt(wave, sample_rate),
    )


def level_db(wave: np.ndarray) -> float:
    """Root mean square of `wave` [S] in dB below full scale; NaN for digital silence."""
    power = float(np.mean(np.square(np.asarray(wave, dtype=np.float64)))) if len(wave) else 0.0
    return 10 * math.log10(power) if power > 0 else math.nan


def spectral_tilt(wave: np.ndarray, sample_rate: int) -> float:
    """Slope in dB per octave of the long-term average spectrum of `wave` [S], from 250 Hz to 5 kHz; NaN for silence.

    Mean power density of 32-ms Hann frames within 40 dB of the loudest, in third-octave bands; least squares over the
    bands below half the sample rate. White noise has 0, a brighter voice a larger (less negative) slope.
    """
    size = 2 * round(FRAME_S * sample_rate / 2)
    samples = np.asarray(wave, dtype=np.float64)
    samples = np.pad(samples, (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2] * np.hanning(size)  # [T, S]
    power = np.abs(np.fft.rfft(frames)) ** 2  # [T, F]
    energy = power.sum(1)
    if not energy.max() > 0:
        return math.nan
    average = power[energy > energy.max() * 10 ** (-ACTIVE_DB / 10)].mean(0)  # [F]
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    edge = 2 ** (1 / 6)
    centres = [centre for centre in TILT_BANDS_HZ if centre * edge <= sample_rate / 2]
    bands = [average[(hz >= centre / edge) & (hz < centre * edge)].mean() for centre in centres]  # [B]
    levels = 10 * np.log10(np.maximum(bands, 1e-20))
    return float(np.polyfit(np.log2(centres), levels, 1)[0])
