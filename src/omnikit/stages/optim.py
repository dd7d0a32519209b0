"""How a stage optimises: AdamW, a linear warm-up, then a cosine to a floor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Optim:
    """Settings of an optimiser and its schedule over `steps` optimiser steps."""

    lr: float
    steps: int
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    final_fraction: float = 0.01

    def factor(self, step: int) -> float:
        """The learning rate at `step` as a share of `lr`."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        return self.final_fraction + (1 - self.final_fraction) * 0.5 * (1 + math.cos(math.pi * done))

    def build(
        self, parameters: Iterable[nn.Parameter] | list[dict]
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """AdamW over `parameters` (or parameter groups with their own lr) and its schedule."""
        optimizer = torch.optim.AdamW(
            parameters, lr=self.lr, betas=tuple(self.betas), eps=self.eps, weight_decay=self.weight_decay
        )
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, self.factor)
