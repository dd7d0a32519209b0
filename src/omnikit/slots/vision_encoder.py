"""The slot `vision_encoder`: picture → patch features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from omnikit.slots.base import Component
from omnikit.types import Frames, Images


class VisionEncoder(Component):
    """A picture encoder. Its contract needs port `image` (ImagePort) and gives port `frames` (FramesPort).

    Pictures come at the size of the port; `omnikit.data.images.fit(picture, port.size)` brings them to it.
    """

    @abstractmethod
    def encode(self, images: Images) -> Frames:
        """Patch features [B, N, D] in row-major order, without class token."""

    @abstractmethod
    def intermediates(self, images: Images, layers: Sequence[int]) -> list[Frames]:
        """Patch features after the named blocks (negative counts from the end)."""

    def num_positions(self, height: int, width: int) -> int:
        """Positions N that a picture of `height` x `width` pixels takes, before anything is read or resized.

        An encoder whose contract names no fixed length says it in a method of its own.
        """
        length = self.contract(**self.parameters_given).gives["frames"].length  # type: ignore[attr-defined]
        if length is None:
            raise TypeError(f"{type(self).__name__} names no fixed length; write `num_positions` for it.")
        return length
