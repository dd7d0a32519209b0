"""Pictures brought to the size that an encoder takes: squashed, padded, cut into slices, or at their own resolution.

Pure functions from a PIL picture in RGB to pictures in RGB. Letters: H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from omnikit.errors import MediaError
from omnikit.nn.picture_sizes import AnyRes, NativeSize, PaddedSquare, PictureSize, Slicing


def square(image: Image.Image, side: int) -> Image.Image:
    """The whole picture as `side` x `side` pixels (bicubic); its shape is not kept."""
    if side < 1:
        raise MediaError(f"Cannot resize an image to {side} x {side} pixels: the size must be at least 1.")
    return _resized(image, side, side)


def pad_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """The picture in the middle of a square as long as its longer side, filled with the color `mean` (in [0, 1]).

    Ref: Liu et al. 2023 (LLaVA-1.5, arXiv 2310.03744).
    """
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    canvas = Image.new("RGB", (side, side), tuple(int(channel * 255) for channel in mean))
    canvas.paste(image, ((side - width) // 2, (side - height) // 2))
    return canvas


def any_res_slices(image: Image.Image, plan: Slicing) -> list[Image.Image]:
    """The whole picture squashed to a tile, then its tiles on black, row by row; all of `plan.side` pixels a side."""
    height, width = plan.canvas
    canvas = Image.new("RGB", (width, height))
    canvas.paste(_resized(image, *plan.resized), (plan.offset[1], plan.offset[0]))
    side = plan.side
    corners = ((x, y) for y in range(0, height, side) for x in range(0, width, side))
    return [square(image, side), *(canvas.crop((x, y, x + side, y + side)) for x, y in corners)]


def native(image: Image.Image, size: NativeSize) -> Image.Image:
    """The picture at nearly its own size and shape (bicubic). Raises `MediaError` for one that is far too long."""
    return _resized(image, *size.fit(image.height, image.width))


def fit(image: Image.Image, size: int | PaddedSquare | NativeSize) -> Image.Image:
    """The picture at the size that the port of an encoder names: squashed or padded to a side, or its own in bounds."""
    if isinstance(size, NativeSize):
        return native(image, size)
    if isinstance(size, PaddedSquare):
        return square(pad_to_square(image, size.fill), size.side)
    return square(image, size)


def shown(image: Image.Image, size: PictureSize) -> list[Image.Image]:
    """What an encoder sees of a picture: the picture as `fit` makes it, or its slices."""
    if isinstance(size, AnyRes):
        return any_res_slices(image, size.plan(image.height, image.width))
    return [fit(image, size)]


def _resized(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)
