"""Which frames belong to which unit: monotonic alignment search, and expansion by durations.

Letters: B batch, T units, F frames, C channels.

Ref: Kim et al., "Glow-TTS", NeurIPS 2020, algorithm 1. Of equally good paths the one that stays longest with the later
unit, seen from the end, is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omnikit.errors import DataError
from omnikit.nn.alignment_kernel import native_path


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
    found = native_path(value, num_frames, num_units)
    return searched_path(value, num_frames, num_units) if found is None else found


def searched_path(value: Tensor, num_frames: Tensor, num_units: Tensor) -> Tensor:
    """`monotonic_path` of checked input, all rows at once in plain PyTorch."""
    total_frames, total_units = value.shape[1:]
    best = value.new_full((value.shape[0], total_units + 1), float("-inf"))  # [B, 1 + T]: before the first unit is none
    best[:, 1] = value[:, 0, 0]
    before, here = best[:, :-1], best[:, 1:]  # [B, T]
    moved = torch.zeros(total_frames, *here.shape, dtype=torch.bool, device=value.device)  # [F, B, T]
    better = torch.empty_like(here)
    for frame in range(1, total_frames):
        torch.gt(before, here, out=moved[frame])
        torch.maximum(before, here, out=better)
        torch.add(better, value[:, frame], out=here)
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


class FrameCount:
    """Whole frames of units that come block by block; `rounded` as `whole_frames` does it, otherwise every unit up.

    Of units that are all told too short for a frame, the last gets one.
    """

    def __init__(self, rounded: bool) -> None:
        self.rounded = rounded
        self._end: Tensor | None = None  # of the units so far [B]

    def __call__(self, durations: Tensor, last: bool) -> Tensor:
        """Real durations of the next units [B, T] → whole ones [B, T]."""
        frames = durations.double()
        if not self.rounded:
            frames = frames.ceil()
        start = frames.new_zeros(len(frames)) if self._end is None else self._end
        ends = start[:, None] + frames.cumsum(1)  # [B, T]
        whole = ends.round().diff(dim=1, prepend=start.round()[:, None]).long()
        self._end = ends[:, -1]
        if last:
            whole[:, -1] += (self._end.round() == 0).long()
        return whole


def take_units(x: Tensor, path: Tensor) -> Tensor:
    """Repeat unit values x [B, C, T] along the frames of a path [B, F] → [B, C, F]."""
    return x.gather(2, path[:, None].expand(-1, x.shape[1], -1))
