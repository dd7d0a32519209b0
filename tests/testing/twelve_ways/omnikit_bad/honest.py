"""`projector/honest`: what the bad ones are made of; it keeps every promise."""

from __future__ import annotations

from typing import Any

from torch import nn

from omnikit import Contract, FramesPort
from omnikit.errors import ContractError
from omnikit.slots.projector import Projector
from omnikit.types import Frames


class Honest(Projector):
    """Features → features of the same width, by one matrix.

    Contract: features [B, N, dim] → [B, N, dim].
    Ref: none, a matrix product.
    """

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.dim = dim
        self.linear = nn.Linear(dim, dim)

    @classmethod
    def contract(cls, dim: Any) -> Contract:
        """The same width on both sides."""
        return Contract(needs={"frames": FramesPort(dim=dim)}, gives={"embeds": FramesPort(dim=dim)})

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, dim] → [B, N, dim]."""
        if frames.features.shape[-1] != self.dim:
            raise ContractError(f"features of width {frames.features.shape[-1]}, accepted: {self.dim}.")
        return Frames(self.linear(frames.features), frames.lengths, frames.rate)
