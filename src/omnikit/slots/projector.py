"""The slot `projector`: encoder features → vectors in the backbone's width."""

from __future__ import annotations

from abc import abstractmethod

from omnikit.slots.base import Component
from omnikit.types import Frames


class Projector(Component):
    """A connector. Its contract needs port `frames` (width `in_dim`) and gives port `embeds` (width `out_dim`)."""

    @abstractmethod
    def project(self, frames: Frames) -> Frames:
        """Features [B, N, in_dim] → [B, M, out_dim]."""

    def num_positions(self, num_frames: int) -> int:
        """Positions M that `num_frames` valid ones become, before any tensor is made.

        Those of the contract where it names a number, else as many as came in; another rule is a method of its own.
        """
        fixed = self.contract(**self.parameters_given).gives["embeds"].length  # type: ignore[attr-defined]
        return num_frames if fixed is None else fixed
