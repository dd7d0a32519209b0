"""Long recordings through the SPIRAL encoder in overlapping windows, in memory that does not grow with their length.

Attention is global, so nothing in windows can equal the whole exactly. What is kept: the peak and the statistics of
every mel band are those of the whole recording, frames at a joint are those of the whole recording, every step is read
by exactly one window with `context_s` of sound on both sides (none where the recording begins or ends), and the number
of steps is that of the whole. `bench/streaming.py` measures how many units stay the same.

Letters: S samples, T frames or steps, M mel bands, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from omnikit.errors import OmnikitError
from omnikit.nn.logmel import LogMel
from omnikit.nn.spiral import SpiralEncoder

_PIECE = 6000
"""Frames at a time (a minute) while statistics are taken."""


@dataclass(frozen=True)
class Windows:
    """Recordings up to `longest_s` seconds are read whole; longer ones in windows of that length.

    Each window shares `context_s` seconds with what the one before it and the one after it read.
    """

    longest_s: float = 60.0
    context_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.context_s < self.longest_s:
            raise OmnikitError(
                f"Windows of {self.longest_s:g} s with {self.context_s:g} s of context on both sides never advance.\n"
                "Give a longest_s of more than twice context_s."
            )

    def cores(self, num_steps: int, rate: float) -> Iterator[tuple[int, int, int, int]]:
        """(first step to read, first to keep, end of those to keep, end of those to read) of each window."""
        longest, context = max(1, int(self.longest_s * rate)), int(self.context_s * rate)
        kept = 0
        while kept < num_steps:
            first = max(0, min(kept - context, num_steps - longest))
            end = min(first + longest, num_steps)
            core_end = num_steps if end == num_steps else end - context
            yield first, kept, core_end, end
            kept = core_end


def window_steps(encoder: SpiralEncoder, row: Tensor, windows: Windows, stride: int) -> Iterator[Tensor]:
    """Encoder steps [1, T, D] of one recording [S], window by window; joined they are `ceil(frames / stride)` steps."""
    front = encoder.wav2spec["featurizer"]
    assert isinstance(front, LogMel)
    num_frames = int(front.frame_lengths(torch.tensor(len(row))))
    peak = front.peak(row)
    mean, deviation = _statistics(front, row, num_frames, peak)
    rate = front.sample_rate / front.hop_size / stride
    for first, core, core_end, end in windows.cores(-(-num_frames // stride), rate):
        start, stop = first * stride, min(end * stride, num_frames)
        frames = (front.stretch(row, start, stop, peak) - mean) / (deviation + 1e-5)
        steps, _ = encoder.feature_encoder(frames[None], torch.tensor([stop - start], device=row.device))
        yield steps[:, core - first : core_end - first]


def _statistics(front: LogMel, row: Tensor, num_frames: int, peak: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased deviation [M] of every band over the whole recording, summed in float64."""
    pieces = [(start, min(start + _PIECE, num_frames)) for start in range(0, num_frames, _PIECE)]
    zero = torch.zeros(front.fb.shape[1], dtype=torch.float64, device=row.device)
    total, squares = zero.clone(), zero.clone()
    for start, end in pieces:
        frames = front.stretch(row, start, end, peak).double()
        total += frames.sum(0)
        squares += frames.square().sum(0)
    mean = total / num_frames
    variance = (squares - num_frames * mean.square()).clamp(min=0) / max(1, num_frames - 1)
    return mean.float(), variance.sqrt().float()
