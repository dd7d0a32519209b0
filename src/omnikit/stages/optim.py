"""How a stage optimises: AdamW; a linear warm-up, a plateau where there is one, then a cosine or a line to a floor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn

from omnikit.errors import unknown_name

DECAYS = ("cosine", "linear")


@dataclass(frozen=True)
class Optim:
    """Settings of an optimiser and its schedule over `steps` optimiser steps.

    The rate rises to `lr` for `warmup_steps`, stays for `hold_steps`, and falls to `final_fraction` of it by `decay`.
    Raises `UnknownName` for a decay that does not exist.
    """

    lr: float
    steps: int
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    final_fraction: float = 0.01
    hold_steps: int = 0
    decay: str = "cosine"

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise unknown_name("decay of a learning rate", self.decay, DECAYS)

    def factor(self, step: int) -> float:
        """The learning rate at `step` as a share of `lr`."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        begin = self.warmup_steps + self.hold_steps
        done = min(1.0, max(0, step - begin) / max(1, self.steps - begin))
        left = 1 - done if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.final_fraction + (1 - self.final_fraction) * left

    def build(
        self, parameters: Iterable[nn.Parameter] | list[dict]
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """AdamW over `parameters` (or parameter groups with their own lr) and its schedule.

        Weights in float32 on a processor are updated in one pass instead of one for every operation of the formula:
        the same numbers up to rounding, with a fraction of the traffic to memory.
        """
        groups: list[Any] = [
            {**each, "params": list(each["params"])} if isinstance(each, dict) else each for each in parameters
        ]
        in_one_pass = _plain_on_cpu(groups)
        optimizer = torch.optim.AdamW(
            groups,
            lr=self.lr,
            betas=(self.betas[0], self.betas[1]),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=in_one_pass or None,
        )
        if in_one_pass:  # gradients are unscaled before they are clipped, as for any other optimiser
            optimizer._step_supports_amp_scaling = False
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, self.factor)


def _plain_on_cpu(groups: Iterable[nn.Parameter | dict]) -> bool:
    """Whether all weights are float32 on a processor, and none is a share of a larger one."""
    weights = chain.from_iterable(each["params"] if isinstance(each, dict) else [each] for each in groups)
    return all(
        type(weight) is nn.Parameter and weight.device.type == "cpu" and weight.dtype == torch.float32
        for weight in weights
    )
