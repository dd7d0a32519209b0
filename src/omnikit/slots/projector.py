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
