"""Sums over the processes of one training, through which gradients flow; alone, a process's own numbers are the sums.

With the mean of gradients that data-parallel training takes, a loss that is `processes()` times a process's part of the
whole loss teaches exactly what one process with the whole batch would.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def num_processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of every process's `x`, of one shape everywhere; its gradient is the sum of every process's gradient."""
    return x if num_processes() == 1 else _Sum.apply(x)


def mean_over_processes(total: Tensor, count: Tensor) -> Tensor:
    """`total` over `count` when both are summed over all processes; 0 where nothing counts."""
    return sum_over_processes(total) / sum_over_processes(count).clamp(min=1)


@torch.no_grad()
def most_over_processes(x: Tensor) -> Tensor:
    """The largest of every process's `x`, element by element."""
    if num_processes() == 1:
        return x
    most = x.clone()
    distributed.all_reduce(most, distributed.ReduceOp.MAX)
    return most


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total
