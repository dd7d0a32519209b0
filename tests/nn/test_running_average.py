"""Running averages of weights: the formula, and what they leave alone."""

from __future__ import annotations

import copy

import torch
from torch import nn

from omnikit.nn.running_average import follow, growing_share


def test_it_is_the_mean_with_falling_weights() -> None:
    current = nn.BatchNorm1d(3)
    average = copy.deepcopy(current).requires_grad_(False)
    seen = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-4.0, 0.0, 8.0])]
    for value in seen:
        with torch.no_grad():
            current.weight.copy_(value)
            current.running_mean.fill_(7.0)
        follow(average, current, 0.75)
    expected = 0.75**2 * torch.ones(3) + 0.75 * 0.25 * seen[0] + 0.25 * seen[1]
    torch.testing.assert_close(average.weight.detach(), expected)
    assert not average.running_mean.any()
    assert torch.equal(current.weight.detach(), seen[1])


def test_early_steps_are_forgotten_sooner() -> None:
    assert growing_share(0, 0.999) == 0.1
    shares = [growing_share(step, 0.99) for step in range(2000)]
    assert shares == sorted(shares) and shares[-1] == 0.99
