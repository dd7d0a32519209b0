"""How speech sounds, measured: the median fundamental frequency, and distances in semitones.

Letters: S samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import parselmouth

FLOOR_HZ = 60.0
CEILING_HZ = 500.0
STEP_S = 0.01
MIN_VOICED = 5
"""Voiced frames (of 10 ms) below which a median says nothing."""
SILENCE_PEAK = 1e-4


@dataclass(frozen=True)
class Pitch:
    """The median F0 over voiced frames; `median_hz` is NaN where `reason` says why there is none."""

    median_hz: float
    num_voiced: int
    reason: str = ""


def median_pitch(wave: np.ndarray, sample_rate: int) -> Pitch:
    """Median F0 in Hz of `wave` [S], between 60 and 500 Hz, over the voiced frames of Praat's autocorrelation method.

    The wave is scaled to a peak of 1 first, so that the answer does not depend on its gain. Silence, unvoiced sound and
    sound too short for three periods of the lowest pitch give NaN and a reason, never a number.
    Ref: P. Boersma, "Accurate short-term analysis of the fundamental frequency …", IFA Proceedings 17, 1993.
    """
    samples = np.asarray(wave, dtype=np.float64)
    if not np.isfinite(samples).all():
        return Pitch(math.nan, 0, "the wave holds NaN or infinite samples")
    if samples.size / sample_rate < 3 / FLOOR_HZ + STEP_S:
        return Pitch(math.nan, 0, f"{samples.size / sample_rate:.3f} s are too short for {FLOOR_HZ:g} Hz")
    peak = float(np.abs(samples).max())
    if peak < SILENCE_PEAK:
        return Pitch(math.nan, 0, f"silent: its peak is {peak:.1e}")
    sound = parselmouth.Sound(samples / peak, sampling_frequency=float(sample_rate))
    pitch = sound.to_pitch_ac(time_step=STEP_S, pitch_floor=FLOOR_HZ, pitch_ceiling=CEILING_HZ)
    frames = pitch.selected_array["frequency"]
    voiced = frames[frames > 0]
    if len(voiced) < MIN_VOICED:
        return Pitch(math.nan, len(voiced), f"only {len(voiced)} voiced frames of {len(frames)}")
    return Pitch(float(np.median(voiced)), len(voiced))


def semitones(hz: float, reference_hz: float) -> float:
    """How far `hz` lies above `reference_hz`, in semitones; NaN where either is NaN. Both must be above 0."""
    return 12.0 * math.log2(hz / reference_hz)
