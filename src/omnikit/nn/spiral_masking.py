"""What a student must not see in SPIRAL pre-training: masked time, masked mel bands; and the teacher's shift in time.

Letters: B batch, F frames, M mel bands, T steps (frames over stride), K negatives.

Ref: Huang et al., "SPIRAL: Self-supervised Perturbation-Invariant Representation Learning for Speech Pre-Training",
ICLR 2022, sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MIN_TIME_SPANS = 2


@dataclass(frozen=True)
class Masking:
    """How much is hidden and shifted; the defaults are the published numbers.

    Spans may overlap. `time_share` is the summed length of the time spans over the frames of an utterance, `time_span`
    the frames of each; `channel_share` and `channel_span` say the same of mel bands, hidden for the whole utterance.
    `max_shift` is the most steps that are put before, and after, the teacher's frames.
    """

    time_share: float = 0.5
    time_span: int = 20
    channel_share: float = 0.4
    channel_span: int = 20
    max_shift: int = 16


@dataclass(frozen=True)
class Draws:
    """The random choices of a step.

    `time_mask` [B, F] and `channel_mask` [B, M] are True where the student must not see; `shift` is the number of steps
    put before and after the teacher's frames; `negatives` [B, T, K] are steps of the same row that are not step t.
    """

    time_mask: Tensor
    channel_mask: Tensor
    shift: tuple[int, int]
    negatives: Tensor


def draw(
    masking: Masking,
    frame_lengths: Sequence[int],
    step_lengths: Sequence[int],
    num_mels: int,
    num_negatives: int,
    shared: torch.Generator,
    rows: Sequence[torch.Generator],
) -> Draws:
    """The choices for a batch: the shift from `shared`, all else of a row from that row's own generator in `rows`.

    A row's choices thus do not depend on the rows beside it. Everything is on CPU.
    """
    first, last = torch.randint(masking.max_shift + 1, (2,), generator=shared).tolist()
    time_mask = torch.zeros(len(rows), max(frame_lengths), dtype=torch.bool)
    channel_mask = torch.zeros(len(rows), num_mels, dtype=torch.bool)
    negatives = torch.zeros(len(rows), max(step_lengths), num_negatives, dtype=torch.long)
    for row, generator in enumerate(rows):
        frames, steps = frame_lengths[row], step_lengths[row]
        time_mask[row, :frames] = spans(frames, masking.time_share, masking.time_span, MIN_TIME_SPANS, generator)
        channel_mask[row] = spans(num_mels, masking.channel_share, masking.channel_span, 0, generator)
        negatives[row, :steps] = other_steps(steps, num_negatives, generator)
    return Draws(time_mask, channel_mask, (first, last), negatives)


def spans(size: int, share: float, span: int, at_least: int, generator: torch.Generator) -> Tensor:
    """A mask [size] of spans whose summed length is `share` of `size` in the mean, with different starts.

    A span is at most half as long as what it is drawn in, so that something is left to see.
    """
    span = min(span, size // 2)
    mask = torch.zeros(size, dtype=torch.bool)
    if span < 1:
        return mask
    count = int(share * size / span + float(torch.rand((), generator=generator)))
    starts = torch.randperm(size - span, generator=generator)[: max(at_least, count)]
    mask[(starts[:, None] + torch.arange(span)).flatten()] = True  # [starts, span] → [starts · span]
    return mask


def other_steps(num_steps: int, count: int, generator: torch.Generator) -> Tensor:
    """For every step, `count` of the other steps, with replacement: [T, K]; a lone step has only itself."""
    drawn = torch.randint(max(1, num_steps - 1), (num_steps, count), generator=generator)
    own = torch.arange(num_steps)[:, None]
    return (drawn + (drawn >= own)).clamp(max=num_steps - 1)


def hide(frames: Tensor, draws: Draws, filler: Tensor) -> Tensor:
    """The student's frames [B, F, M]: `filler` [M] at masked times, then zeros in masked bands."""
    num_frames = frames.shape[1]
    time_mask = functional.pad(draws.time_mask, (0, num_frames - draws.time_mask.shape[1]))
    frames = torch.where(time_mask[..., None], filler, frames)
    return frames * ~draws.channel_mask[:, None]


def shift(frames: Tensor, lengths: Tensor, before: int, after: int, filler: Tensor) -> tuple[Tensor, Tensor]:
    """Put `filler` [M] for `before` frames in front of every row and for `after` frames behind its own end.

    Frames [B, F, M] with `lengths` [B] → [B, F + before + after, M] with theirs; what follows a row's end is 0.
    """
    padded = functional.pad(frames, (0, 0, before, after))
    place = torch.arange(padded.shape[1], device=frames.device)[None]  # [1, F']
    end = (lengths + before)[:, None]  # [B, 1]
    shifted = torch.where(((place >= before) & (place < end))[..., None], padded, filler)
    return shifted * (place < end + after)[..., None], lengths + before + after
