"""Expansion by durations for a graph: how many frames there are depends on what the graph computes.

Letters: T units, L frames. One row at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def ends_of(durations: Tensor) -> Tensor:
    """The frame [1, T] that follows every unit, when unit t lasts `durations` [1, T] (real): rounded running sums."""
    return durations.double().cumsum(1).round().long()


def whole_durations(ends: Tensor) -> Tensor:
    """Frames [1, T] of units that end at `ends` [1, T]."""
    return ends - torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], 1)


def path_to(ends: Tensor) -> Tensor:
    """The unit of every frame [1, L] when units end at `ends` [1, T], the last after one frame or more.

    The values are those of `alignment.path_of`: a frame's unit is how many units have ended by then.
    """
    total: Any = ends[0, -1].item()  # a whole number that is not known before the graph runs
    torch._check(total >= 1)
    ended = torch.zeros(1, total + 1, dtype=torch.long, device=ends.device)
    return ended.scatter_add(1, ends, torch.ones_like(ends)).cumsum(1)[:, :total]
