"""Which tensors hold numbers, and which NaN or infinity; the norm of gradients before a step is taken with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

NAMED = 3
"""So many broken tensors are named; of the others, it is said how many they are."""


def held(value: Tensor) -> Tensor:
    """What this process holds of a tensor, which may be shared out."""
    value = value.detach()
    return value.to_local() if isinstance(value, DTensor) else value


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of tensors that hold NaN or infinity; of those that are shared out, in the share of this process."""
    return [name for name, value in tensors if not bool(torch.isfinite(held(value)).all())]


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def weights_of(optimizer: torch.optim.Optimizer) -> list[Any]:
    """The weights of an optimiser that have gradients."""
    return [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]


def norm_of_gradients(weights: Sequence[Any]) -> Tensor:
    """The Euclidean norm of the gradients of `weights`, the same number in every process of a sharded training."""
    norm = get_total_norm([weight.grad for weight in weights])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
