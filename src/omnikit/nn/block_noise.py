"""Normal noise as a function of the position alone, however it is asked for.

Letters: C channels, T steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 64
_SEEDS = 2**62


class BlockNoise:
    """Standard normal numbers [1, C, T] of an endless sequence, drawn block by block from a seed of their own.

    Two readers of the same seed see the same number at the same step, whatever stretches they ask for.
    """

    def __init__(self, num_channels: int, seed: int, device: torch.device) -> None:
        self.num_channels, self.device = num_channels, device
        self._draws = torch.Generator().manual_seed(seed)
        self._blocks: list[Tensor] = []
        self._first = 0  # index of the oldest block that is kept

    def __call__(self, start: int, stop: int) -> Tensor:
        """The noise of steps `start` to `stop`; steps before `start` are forgotten and may not be asked for again."""
        forget = start // _BLOCK - self._first
        assert forget >= 0, "noise is read forwards"
        while (self._first + len(self._blocks)) * _BLOCK < max(stop, 1):
            block = torch.randn(self.num_channels, _BLOCK, generator=self._draws)
            self._blocks.append(block.to(self.device))
        self._blocks, self._first = self._blocks[forget:], self._first + forget
        begin = self._first * _BLOCK
        return torch.cat(self._blocks, 1)[None, :, start - begin : stop - begin]


def seeds(number: int, generator: torch.Generator) -> list[int]:
    """Seeds drawn from a generator."""
    return torch.randint(_SEEDS, (number,), generator=generator, device=generator.device).tolist()
