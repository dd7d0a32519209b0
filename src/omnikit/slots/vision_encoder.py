"""The slot `vision_encoder`: picture → patch features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from omnikit.slots.base import Component
from omnikit.types import Frames, Images


class VisionEncoder(Component):
    """A picture encoder. Its contract needs port `image` (ImagePort) and gives port `frames` (FramesPort)."""

    @abstractmethod
    def encode(self, images: Images) -> Frames:
        """Patch features [B, N, D] in row-major order, without class token."""

    @abstractmethod
    def intermediates(self, images: Images, layers: Sequence[int]) -> list[Frames]:
        """Patch features after the named blocks (negative counts from the end)."""
