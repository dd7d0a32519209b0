"""A running average of a module's weights: a copy that follows it step by step.

Ref: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
"""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def follow(average: nn.Module, current: nn.Module, keep: float) -> None:
    """Move the weights of `average` to those of `current`, a module of the same form: a share `keep` of them stays.

    Buffers do not move.
    """
    for target, source in zip(average.parameters(), current.parameters(), strict=True):
        target.lerp_(source.to(target.dtype), 1 - keep)


def growing_share(step: int, keep: float) -> float:
    """The share to keep at `step` (0, 1, …): (1 + step) / (10 + step) until that is `keep`, as TensorFlow's averages.

    Weights of the first steps are worth little; without this they would stay for 1 / (1 - keep) steps.
    """
    return min(keep, (1 + step) / (10 + step))
