"""Loudness of a mono sound in LUFS.

Ref: ITU-R BS.1770-4, annex 1 (K weighting, blocks of 400 ms, gates at -70 LUFS and 10 LU below the mean). The filters
are given there for 48 kHz; other rates use the analogue prototypes behind them (B. De Man, "Evaluation of
implementations of the EBU R128 loudness measurement", AES 145, 2018). Letters: S samples, K blocks.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import lfilter

BLOCK_S = 0.4
OVERLAP = 0.75
ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0
_OFFSET = -0.691
_SHELF = {"hz": 1681.974450955533, "quality": 0.7071752369554196, "gain_db": 3.999843853973347}
_PASS = {"hz": 38.13547087602444, "quality": 0.5003270373238773}


def loudness(wave: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of a wave [S] in LUFS; -inf where no block passes the gates.

    A sound shorter than a block is measured as one block.
    """
    weighted = np.asarray(wave, dtype=np.float64)
    for top, bottom in (_high_shelf(sample_rate), _high_pass(sample_rate)):
        weighted = lfilter(top, bottom, weighted)
    size = min(round(BLOCK_S * sample_rate), len(weighted))
    if not size:
        return -math.inf
    step = max(1, round(size * (1 - OVERLAP)))
    ends = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(weighted) - size + 1, step)
    powers = (ends[starts + size] - ends[starts]) / size  # [K]
    powers = powers[_lufs(powers) > ABSOLUTE_GATE]
    if not len(powers):
        return -math.inf
    gate = float(_lufs(powers.mean())) + RELATIVE_GATE
    return float(_lufs(powers[_lufs(powers) > gate].mean()))


def _lufs(power: np.ndarray | float) -> np.ndarray:
    return _OFFSET + 10 * np.log10(np.maximum(power, 1e-30))


def _high_shelf(sample_rate: int) -> tuple[list[float], list[float]]:
    """Numerator and denominator of the first stage, for the head's reflections."""
    k = math.tan(math.pi * _SHELF["hz"] / sample_rate)
    high = 10 ** (_SHELF["gain_db"] / 20)
    band = high**0.4996667741545416
    slope = k / _SHELF["quality"]
    scale = 1 + slope + k * k
    top = [high + band * slope + k * k, 2 * (k * k - high), high - band * slope + k * k]
    return [value / scale for value in top], [1.0, 2 * (k * k - 1) / scale, (1 - slope + k * k) / scale]


def _high_pass(sample_rate: int) -> tuple[list[float], list[float]]:
    """Numerator and denominator of the second stage."""
    k = math.tan(math.pi * _PASS["hz"] / sample_rate)
    slope = k / _PASS["quality"]
    scale = 1 + slope + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / scale, (1 - slope + k * k) / scale]
