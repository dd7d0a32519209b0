"""The slot `vision_encoder`: picture → patch features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from omnikit.errors import OmnikitError, unknown_name
from omnikit.nn.picture_sizes import AnyRes, PaddedSquare, grids_of
from omnikit.slots.base import Component
from omnikit.types import Frames, Images

IMAGE_MODES = ("square", "pad")
"""How a picture of another shape becomes a square: squashed, or padded with the mean color of the encoder's pixels."""


def square_pictures(
    side: int, max_tiles: int, image_mode: str, mean: tuple[float, float, float]
) -> int | PaddedSquare | AnyRes:
    """The size of the image port of an encoder of squares: `side`, padded or not, or slices of it for tiles.

    `mean` is the color, in [0, 1], that the encoder normalises to zero. Raises `UnknownName` for another mode,
    `OmnikitError` for less than one tile, and for tiles of what is padded.
    """
    if image_mode not in IMAGE_MODES:
        raise unknown_name("image_mode", image_mode, IMAGE_MODES)
    if max_tiles < 1:
        raise OmnikitError(f"max_tiles is {max_tiles}: 1 is the picture as a whole, 4 or 9 are usual numbers of tiles.")
    if max_tiles == 1:
        return side if image_mode == "square" else PaddedSquare(side, mean)
    if image_mode == "pad":
        raise OmnikitError(
            f"image_mode=pad shows a picture whole, max_tiles={max_tiles} cuts it into tiles that keep its shape.\n"
            "Set max_tiles=1, or image_mode=square."
        )
    return AnyRes(side, grids_of(max_tiles))


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
