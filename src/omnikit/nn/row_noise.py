"""Random numbers of the rows of a batch: those of a row do not depend on which other rows are there.

Letters: B batch, C channels, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omnikit.nn.block_noise import seeds


class RowNoise:
    """Draws for rows that stand at `places` of a batch; a row's numbers follow from its place and the generator alone.

    Drawn on the CPU and then moved: the same on every device.
    """

    def __init__(self, places: Sequence[int], generator: torch.Generator, device: torch.device) -> None:
        own = seeds(max(places) + 1, generator)
        self._draws = [torch.Generator().manual_seed(own[place]) for place in places]
        self._device = device

    def normal(self, num_channels: int, lengths: Sequence[int], num_steps: int) -> Tensor:
        """Standard normal numbers [B, C, T] of `num_steps` steps, zeros beyond the `lengths` of the rows."""
        noise = torch.zeros(len(lengths), num_channels, num_steps)
        for row, length, draws in zip(noise, lengths, self._draws, strict=True):
            row[:, :length] = torch.randn(num_channels, length, generator=draws)
        return noise.to(self._device)

    def uniform(self) -> Tensor:
        """Numbers [B] in [0, 1)."""
        return torch.cat([torch.rand(1, generator=draws) for draws in self._draws]).to(self._device)
