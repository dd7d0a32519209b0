"""Which frames belong to which unit: monotonic alignment search, and expansion by durations.

Letters: B batch, T units, F frames, C channels.

Ref: Kim et al., "Glow-TTS", NeurIPS 2020, algorithm 1. Of equally good paths the one that stays longest with the later
unit, seen from the end, is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omnikit.errors import DataError


@torch.no_grad()
def monotonic_path(value: Tensor, num_frames: Tensor, num_units: Tensor) -> Tensor:
    """The unit of every frame [B, F] on the monotonic path of the largest summed `value` [B, F, T].

    A path starts at the first unit, ends at the last and gives every unit at least one frame. Frames beyond
    `num_frames` [B] hold the last unit; units beyond `num_units` [B] are never visited. Raises `DataError` for a row
    with fewer frames than units.
    """
    short = (num_frames < num_units).nonzero().flatten().tolist()
    if short:
        row = short[0]
        raise DataError(
            f"Row {row} of the batch has {int(num_units[row])} units but only {int(num_frames[row])} output frames.\n"
            "Every unit needs at least one frame; the recording does not belong to the units, or is cut."
        )
    total_frames, total_units = value.shape[1:]
    best = value.new_full((value.shape[0], total_units), float("-inf"))  # [B, T]
    best[:, 0] = value[:, 0, 0]
    moved = torch.zeros(total_frames, *best.shape, dtype=torch.bool, device=value.device)  # [F, B, T]
    for frame in range(1, total_frames):
        previous = torch.roll(best, 1, dims=1)
        previous[:, 0] = float("-inf")
        moved[frame] = previous > best
        best = torch.maximum(best, previous) + value[:, frame]
    path = torch.empty(total_frames, value.shape[0], dtype=torch.long, device=value.device)  # [F, B]
    unit = num_units - 1
    for frame in reversed(range(total_frames)):
        path[frame] = unit
        step = moved[frame].gather(1, unit[:, None])[:, 0] & (frame < num_frames)
        unit = unit - step.long()
    return path.T.contiguous()


def durations_of(path: Tensor, num_frames: Tensor, total_units: int) -> Tensor:
    """Frames of every unit [B, T] on a path [B, F] of which the first `num_frames` [B] count."""
    valid = torch.arange(path.shape[1], device=path.device) < num_frames[:, None]
    counts = torch.zeros(path.shape[0], total_units, dtype=torch.long, device=path.device)
    return counts.scatter_add_(1, path, valid.long())


def path_of(durations: Tensor, total_frames: int) -> Tensor:
    """The unit of every frame [B, F] when unit t lasts `durations` [B, T] frames (whole numbers, zeros allowed).

    Frames beyond a row's sum hold its last unit.
    """
    ends = durations.cumsum(1).contiguous()  # [B, T]
    frames = torch.arange(total_frames, device=durations.device, dtype=ends.dtype)
    path = torch.searchsorted(ends, frames.expand(len(ends), -1).contiguous(), right=True)  # [B, F]
    return path.clamp(max=durations.shape[1] - 1)


def whole_frames(durations: Tensor) -> Tensor:
    """Real durations [B, T] → whole ones whose running sum is the rounded running sum: no error piles up."""
    ends = durations.double().cumsum(1).round().long()
    return ends.diff(dim=1, prepend=torch.zeros_like(ends[:, :1]))


def take_units(x: Tensor, path: Tensor) -> Tensor:
    """Repeat unit values x [B, C, T] along the frames of a path [B, F] → [B, C, F]."""
    return x.gather(2, path[:, None].expand(-1, x.shape[1], -1))
