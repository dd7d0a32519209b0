"""Conditional flow matching along straight paths: what a velocity field learns, and how it is followed.

Letters: B batch, C channels, T steps. Masks are [B, 1, T]; times are in [0, 1], 0 being noise and 1 data.

Ref: Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023, section 4.1, example II (optimal
transport path); Mehta et al., "Matcha-TTS", ICASSP 2024, section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from omnikit.errors import OmnikitError
from omnikit.nn.processes import mean_over_processes

Field = Callable[[Tensor, Tensor], Tensor]
"""Velocities [B, C, T] at the points [B, C, T] and times [B]."""


def transport(noise: Tensor, data: Tensor, time: Tensor, sigma_min: float) -> tuple[Tensor, Tensor]:
    """The point on the path from `noise` to `data` [B, C, T] at `time` [B], and the velocity there.

    x_t = (1 - (1 - sigma_min) t) x_0 + t x_1 and u_t = x_1 - (1 - sigma_min) x_0 (Lipman et al., equations 22 and 23):
    at t = 1 a normal of standard deviation `sigma_min` around the data is left.
    """
    t = time[:, None, None]  # [B, 1, 1]
    return (1 - (1 - sigma_min) * t) * noise + t * data, data - (1 - sigma_min) * noise


def flow_matching_loss(found: Tensor, velocity: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of two velocities [B, C, T] over all valid numbers."""
    squares = (found.float() - velocity.float()).square() * mask
    return mean_over_processes(squares.sum(), mask.sum() * found.shape[1])


def euler(field: Field, start: Tensor, num_steps: int) -> Tensor:
    """Follow `field` from time 0 at `start` [B, C, T] to time 1 in `num_steps` equal steps.

    x ← x + v(x, i / N) / N for i = 0 … N - 1. Raises `OmnikitError` for less than one step.
    """
    if num_steps < 1:
        raise OmnikitError(f"num_steps is {num_steps}; a flow is followed in 1 step or more (4 to 32 are usual).")
    x = start
    for step in range(num_steps):
        time = torch.full((len(x),), step / num_steps, device=x.device)
        x = x + field(x, time) / num_steps
    return x
