"""The slot `vision_encoder`: picture → patch features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from omnikit.errors import OmnikitError
from omnikit.nn.picture_sizes import AnyRes, grids_of
from omnikit.slots.base import Component
from omnikit.types import Frames, Images


def square_pictures(side: int, max_tiles: int) -> int | AnyRes:
    """The size of the image port of an encoder of squares: `side`, or slices of it where tiles are wanted.

    Raises `OmnikitError` for less than one tile.
    """
    if max_tiles < 1:
        raise OmnikitError(f"max_tiles is {max_tiles}: 1 is the picture as a whole, 4 or 9 are usual numbers of tiles.")
    return side if max_tiles == 1 else AnyRes(side, grids_of(max_tiles))


class VisionEncoder(Component):
    """A picture encoder. Its contract needs port `image` (ImagePort) and gives port `frames` (FramesPort).

    Pictures come at the size of the port; `omnikit.data.images.shown(picture, port.size)` brings them to it. Where that
    is `AnyRes`, every slice is a picture to the encoder, and `slots.seeing` puts their features together.
    """

    @abstractmethod
    def encode(self, images: Images) -> Frames:
        """Patch features [B, N, D] in row-major order, without class token."""

    @abstractmethod
    def intermediates(self, images: Images, layers: Sequence[int]) -> list[Frames]:
        """Patch features after the named blocks (negative counts from the end)."""

    def learn_from(self, block: int) -> None:
        """Freeze what stands before block number `block`; it, those behind it and what follows them learn on.

        Raises `OmnikitError` for a block that does not exist, and where an encoder cannot be divided.
        """
        raise OmnikitError(f"{type(self).__name__} learns as a whole or not at all; set vision_from=0.")

    def num_positions(self, height: int, width: int) -> int:
        """Positions N that a picture of `height` x `width` pixels takes, before anything is read or resized.

        An encoder whose contract names no fixed length says it in a method of its own.
        """
        length = self.contract(**self.parameters_given).gives["frames"].length  # type: ignore[attr-defined]
        if length is None:
            raise TypeError(f"{type(self).__name__} names no fixed length; write `num_positions` for it.")
        return length
