"""What drives a voice: pulses at its pitch and noise, sample by sample, in step with a clock over frames.

A frame's sound follows from its `course` alone: frequency and voicing where it begins and ends, the phase of the pulses
where it begins, and its place in a fixed stretch of noise. Frames can be made apart and fit together.

Letters: B batch, T frames, H samples of a hop, S = T · H samples.

Ref: Wang et al., "Neural Source-Filter Waveform Models for Statistical Parametric Speech Synthesis", TASLP 2020,
section III-A; a sum of cosines in closed form: the Dirichlet kernel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

COURSE_DIM = 6
"""Frequency at both ends in Hz, voicing at both ends, phase in turns, place in the noise."""

_NOISE_FRAMES = 512
"""Noise repeats after so many frames: seconds, which nobody hears in noise."""
_NOISE_SEED = 20_190_512
_PHASE_STEPS = 2**24
"""A turn in whole numbers, which add up to the same however they are grouped; every one of them is a float32."""
_LOWEST_HZ = 1.0


def at_borders(track: Tensor) -> Tensor:
    """Values where every frame begins and ends [B, 2, T], from those of whole frames [B, T]: the mean of neighbours."""
    inner = (track[:, :-1] + track[:, 1:]) / 2
    borders = torch.cat([track[:, :1], inner, track[:, -1:]], 1)  # [B, T + 1]
    return torch.stack([borders[:, :-1], borders[:, 1:]], 1)


class Clock:
    """Counts turns and frames, for one stretch of frames after the other; `first` [B, 1] is the number of the first."""

    def __init__(self, sample_rate: int, hop_size: int, first: Tensor | int = 0) -> None:
        self.seconds, self.next_frame = hop_size / sample_rate, first
        self._turned: Tensor | int = 0  # [B, 1], in steps

    def __call__(self, ends: Tensor) -> Tensor:
        """The next frames' frequency and voicing at both ends [B, 4, T] → their course [B, 6, T]."""
        turns = (ends[:, 0] + ends[:, 1]).float() * (self.seconds / 2)  # [B, T]
        steps = ((turns - turns.floor()) * _PHASE_STEPS).round().long()
        after = steps.cumsum(1) + self._turned
        phase = ((after - steps) % _PHASE_STEPS).float() / _PHASE_STEPS
        place = torch.ones_like(steps).cumsum(1) - 1 + self.next_frame
        self._turned = self._turned + steps.sum(1, keepdim=True)
        self.next_frame = self.next_frame + steps.shape[1]
        return torch.cat([ends, torch.stack([phase, (place % _NOISE_FRAMES).float()], 1)], 1)


class Source(nn.Module):
    """The course of frames → their pulses and their noise, both of power 1."""

    table: Tensor
    time: Tensor

    def __init__(self, sample_rate: int, hop_size: int) -> None:
        super().__init__()
        self.sample_rate, self.hop_size = sample_rate, hop_size
        draws = torch.Generator().manual_seed(_NOISE_SEED)
        table = torch.randn(_NOISE_FRAMES, hop_size, generator=draws, device="cpu")
        self.register_buffer("table", table.to(torch.empty(0).device), persistent=False)
        self.register_buffer("time", torch.arange(hop_size) / sample_rate, persistent=False)  # [H] s

    def forward(self, course: Tensor) -> tuple[Tensor, Tensor]:
        """Course [B, 6, T] → pulses, silent where unvoiced, and noise [B, S]."""
        begin, end, voiced, still_voiced, phase, place = course.float()[..., None].unbind(1)  # [B, T, 1]
        begin, end = begin.clamp(min=_LOWEST_HZ), end.clamp(min=_LOWEST_HZ)
        share = self.time * (self.sample_rate / self.hop_size)  # [H], of the frame
        gained = (end - begin) * share
        turns = phase + (begin + gained / 2) * self.time
        amount = voiced + (still_voiced - voiced) * share
        sounding = pulses(turns, begin + gained, self.sample_rate) * amount
        return sounding.flatten(1), self.table[place[..., 0].long()].flatten(1)


def pulses(turns: Tensor, hz: Tensor, sample_rate: int) -> Tensor:
    """All harmonics of `hz` below half the sample rate, at phases of `turns`, with power 1; tensors of one shape.

    Σ cos 2πkt for k = 1 … K is (sin (2K + 1)πt / sin πt - 1) / 2. The harmonic after K fades in before it counts as
    one, so that a gliding pitch makes no clicks.
    """
    harmonics = (sample_rate / 2 / hz - 1).clamp(min=1)
    whole = harmonics.floor()
    turns = turns - turns.round()  # [-0.5, 0.5]
    low = (math.pi * turns).sin()
    middle = low.abs() < 1e-6
    kernel = ((2 * whole + 1) * math.pi * turns).sin() / torch.where(middle, torch.ones_like(low), low)
    kernel = torch.where(middle, 2 * whole + 1, kernel)
    fading = (harmonics - whole) * (2 * math.pi * (whole + 1) * turns).cos()
    return ((kernel - 1) / 2 + fading) * (2 / harmonics).sqrt()
