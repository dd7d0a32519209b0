"""The fundamental frequency of every frame, for losses and sources that need it batch by batch.

A voice repeats itself after one period, so the autocorrelation of a window has a peak there. It also has one at every
multiple, and noise has small ones everywhere: the shortest lag among the best ones is taken, and a weak best is none.

Letters: B batch, S samples, T frames, W window, N transform size, L lags.

Ref: P. Boersma, "Accurate short-term analysis of the fundamental frequency …", IFA Proceedings 17, 1993, equations 8
to 10 (the window's own autocorrelation is divided out) and section 3 (what counts as voiced).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from omnikit.nn.steps import cut_steps, samples_of

FLOOR_HZ = 60.0
CEILING_HZ = 500.0

_PERIODS = 4
"""Periods of the lowest pitch in a window."""
_AS_GOOD = 0.9
"""The share of the best peak from which a shorter lag is preferred to it."""
_VOICED = 0.62
"""Of the energy, repeats in a voiced frame; more must in a quiet one."""
_SILENT = 0.03
"""Of the loudest sample: what a silent frame stays below."""
_NOTHING = 1e-4
_SMOOTH_HZ = 2000.0
"""From here on frequencies count less and less: the peaks of pulses would be narrower than a sample."""


@torch.no_grad()
def frame_pitch(wave: Tensor, sample_rate: int, hop_size: int) -> Tensor:
    """F0 in Hz [B, T] of waves [B, S] at the middle of every whole frame of `hop_size` samples; 0 where unvoiced.

    Between 60 and 500 Hz. What is silent is judged by the loudest sample of the row that is given.
    """
    edge = _edge(sample_rate, hop_size)
    wave = wave.float()
    windows = functional.pad(wave, (edge, edge)).unfold(1, hop_size + 2 * edge, hop_size)  # [B, T, W]
    loudest = wave.abs().amax(1, keepdim=True).clamp(min=_NOTHING)  # [B, 1]
    loud = windows.abs().amax(-1) / loudest  # [B, T]
    needed = _VOICED + (2 - loud * (1 + _VOICED) / _SILENT).clamp(min=0)
    windows = windows - windows.mean(-1, keepdim=True)
    alike = _alike(windows, math.ceil(sample_rate / FLOOR_HZ) + 2, _SMOOTH_HZ / sample_rate)  # [B, T, L]

    first = int(sample_rate / CEILING_HZ)
    before, here, after = alike[..., first - 1 : -2], alike[..., first:-1], alike[..., first + 1 :]
    height = torch.where((here > before) & (here >= after), here, torch.zeros_like(here))
    best = height.amax(-1, keepdim=True)  # [B, T, 1]
    lags = torch.arange(here.shape[-1], device=wave.device)
    index = torch.where(height >= _AS_GOOD * best, lags, len(lags) - 1).amin(-1, keepdim=True)
    left, top, right = (each.gather(-1, index) for each in (before, here, after))
    beside = 0.5 * (left - right) / (left - 2 * top + right).clamp(max=-1e-6)  # of the parabola through the three
    hz = sample_rate / (first + index + beside.clamp(-0.5, 0.5))[..., 0]
    return torch.where(best[..., 0] >= needed, hz.clamp(FLOOR_HZ, CEILING_HZ), torch.zeros_like(hz))


def pitch_at(wave: Tensor, at: Tensor, sample_rate: int, hop_size: int) -> Tensor:
    """F0 in Hz [B, N] of the consecutive frames `at` [B, N] of waves [B, S], as `frame_pitch`; beyond the end 0.

    What is silent is judged by those frames and what is heard around them.
    """
    margin = math.ceil(_edge(sample_rate, hop_size) / hop_size)
    padded = functional.pad(wave, (margin * hop_size, margin * hop_size))
    wide = at[:, :1] + torch.arange(at.shape[1] + 2 * margin, device=at.device)  # [B, N + margins], of the padded wave
    heard = cut_steps(padded[:, None], samples_of(wide, hop_size))[:, 0]
    return frame_pitch(heard, sample_rate, hop_size)[:, margin : margin + at.shape[1]]


def _edge(sample_rate: int, hop_size: int) -> int:
    """Samples of a window before and after its frame."""
    return max(0, math.ceil((_PERIODS * sample_rate / FLOOR_HZ - hop_size) / 2))


def _alike(windows: Tensor, num_lags: int, smooth: float) -> Tensor:
    """Autocorrelation of windows [B, T, W] without the fall that the window causes, 1 at lag 0 → [B, T, L].

    `smooth` is the corner of a gentle low-pass in turns a sample.
    """
    size = windows.shape[-1]
    fft_size = 2 ** math.ceil(math.log2(size + num_lags))
    shape = torch.hann_window(size, device=windows.device)
    passed = 1 / (1 + (torch.fft.rfftfreq(fft_size, device=windows.device) / smooth) ** 4)

    def correlated(x: Tensor, weight: Tensor | float) -> Tensor:
        spectrum = torch.fft.rfft(x, fft_size)
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.fft.irfft(power * weight, fft_size)[..., :num_lags]

    found, own = correlated(windows * shape, passed), correlated(shape, 1.0)
    return found / found[..., :1].clamp(min=1e-12) * (own[0] / own)
