"""How far apart two utterances sound, frame by frame: mel-cepstral distance, aligned by time warping or by the clock.

Letters: S samples, T frames, M mel bands, D coefficients, P steps of a path.

Ref: R. Kubichek, "Mel-cepstral distance measure for objective speech quality assessment", PACRIM 1993; H. Sakoe and S.
Chiba, "Dynamic programming algorithm optimization for spoken word recognition", IEEE TASSP 26, 1978 (symmetric form).
"""

from __future__ import annotations

import math

import numpy as np
import torch

from omnikit.errors import OmnikitError
from omnikit.nn.spectrogram import Spectrogram

NUM_CEPSTRA = 13
NUM_BANDS = 40
WINDOW_S, STEP_S = 0.032, 0.010
ACTIVE_DB = 40.0
"""Frames of the natural recording more than this below its loudest one do not count: they are silence."""


def mel_cepstra(wave: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Cepstra [T, D] of `wave` [S] without the level (c_1 … c_13), and which frames [T] are no silence.

    c_d = 2 / M Σ_m ln A_m cos(π d (m + 1/2) / M) of the magnitudes A_m in 40 mel bands from 0 Hz to half the sample
    rate; Hann windows of 32 ms, one every 10 ms. Raises `OmnikitError` for less sound than one step.
    """
    samples = np.ascontiguousarray(wave, dtype=np.float32)
    step, window = 2 * round(STEP_S * sample_rate / 2), 2 * round(WINDOW_S * sample_rate / 2)
    if samples.size < step:
        raise OmnikitError(f"{samples.size} samples at {sample_rate} Hz hold no frame of {1000 * STEP_S:g} ms.")
    spectra = Spectrogram(sample_rate, window, step, NUM_BANDS, 0.0, sample_rate / 2)
    magnitude, _ = spectra.linear(torch.from_numpy(samples)[None], torch.tensor([samples.size]))  # [1, F, T]
    logs = spectra.log_mel(magnitude)[0].T.double().numpy()  # [T, M]
    angles = math.pi / NUM_BANDS * np.outer(np.arange(NUM_BANDS) + 0.5, np.arange(1, NUM_CEPSTRA + 1))  # [M, D]
    level = 10 * np.log10(magnitude[0].square().sum(0).double().numpy())  # [T]
    return 2 / NUM_BANDS * logs @ np.cos(angles), level > level.max() - ACTIVE_DB


def frame_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distances in dB between cepstra [..., D]: 10 / ln 10 · √(2 Σ_d (c_d - c'_d)²).

    It is the root mean square difference of two smoothed log spectra, their levels aside.
    """
    return 10 / math.log(10) * np.sqrt(2 * np.square(one - other).sum(-1))


def warped_distance(natural: np.ndarray, made: np.ndarray, active: np.ndarray) -> float:
    """Mean distance in dB along the best warping of two cepstra [T, D], over the `active` natural frames [T].

    NaN where no frame is active.
    """
    costs = frame_distances(natural[:, None], made[None])  # [T, T']
    path = warping_path(costs)
    counted = active[path[:, 0]]
    return float(costs[path[counted, 0], path[counted, 1]].mean()) if counted.any() else math.nan


def timed_distance(natural: np.ndarray, made: np.ndarray, active: np.ndarray) -> float:
    """Mean distance in dB of frames [T, D] at the same time, over the `active` natural ones that both have."""
    length = min(len(natural), len(made))
    counted = active[:length]
    return float(frame_distances(natural[:length], made[:length])[counted].mean()) if counted.any() else math.nan


def warping_path(costs: np.ndarray) -> np.ndarray:
    """The path [P, 2] through `costs` [T, T'] from corner to corner whose sum is smallest.

    A step goes on by one in the first sequence, the second, or both; of equally good ones both goes first.
    """
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):  # cells of one anti-diagonal do not depend on each other
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        before = np.minimum(total[i, j], np.minimum(total[i, j + 1], total[i + 1, j]))
        total[i + 1, j + 1] = costs[i, j] + before
    i, j = rows - 1, columns - 1
    path = [(i, j)]
    while i or j:
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min((step for step in steps if min(step) >= 0), key=lambda step: total[step[0] + 1, step[1] + 1])
        path.append((i, j))
    return np.array(path[::-1])
