"""Networks fed piece by piece that give, joined, what they give when fed at once.

A convolution needs steps on both sides, so what comes out runs behind what went in; the end is told by `last`.

Letters: B batch, C channels, T steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Stage(Protocol):
    """One network at work on one sequence: takes the next steps, gives those outputs that are final now."""

    def __call__(self, x: Tensor, last: bool) -> Tensor:
        """The next steps x [B, C, T], possibly none → outputs that follow the former ones, possibly none."""


class Overlapped:
    """A function of sequences whose output at a step depends on `reach` steps to both sides, fed piece by piece.

    Every piece is computed together with its neighbourhood; sizes of pieces do not change the result, only its cost:
    a piece of n steps costs n + 2 · reach. `function` gives `out_dim` channels and `scale` outputs a step.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], reach: int, out_dim: int, scale: int = 1) -> None:
        self.function, self.reach, self.out_dim, self.scale = function, reach, out_dim, scale
        self._seen: Tensor | None = None
        self._given = 0  # steps of `_seen` whose outputs were given

    def __call__(self, x: Tensor, last: bool) -> Tensor:
        seen = x if self._seen is None else torch.cat([self._seen, x], -1)  # [B, C, T]
        final = seen.shape[-1] if last else max(seen.shape[-1] - self.reach, self._given)
        if final > self._given:
            out = self.function(seen)[..., self._given * self.scale : final * self.scale]
        else:
            out = seen.new_empty(seen.shape[0], self.out_dim, 0)
        drop = max(0, final - self.reach)
        self._seen, self._given = seen[..., drop:], final - drop
        return out
