"""How large a picture is when it is encoded, as arithmetic on heights and widths: square, in slices, or native.

Sizes are (height, width) in pixels unless a name says otherwise; grids are (columns, rows).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from omnikit.errors import MediaError

MAX_ASPECT = 200

Grid = tuple[int, int]
"""(columns, rows) of tiles."""

GRIDS: tuple[Grid, ...] = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3), (4, 1), (1, 4))


@dataclass(frozen=True)
class PaddedSquare:
    """Pictures keep their shape in the middle of a square of `side` pixels, whose rest has the color `fill` in [0, 1].

    Ref: Liu et al. 2023 (LLaVA-1.5, arXiv 2310.03744).
    """

    side: int
    fill: tuple[float, float, float]

    def __str__(self) -> str:
        return f"{self.side}, padded with ({', '.join(f'{channel:.3g}' for channel in self.fill)})"


@dataclass(frozen=True)
class NativeSize:
    """Pictures keep their shape: sides become multiples of `multiple`, areas stay within `min_pixels` … `max_pixels`.

    Ref: Wang et al. 2024 (Qwen2-VL, arXiv 2409.12191), with the budget of Chen et al. 2024 (EMOVA, arXiv 2409.18042).

    >>> NativeSize().fit(480, 640)
    (476, 644)
    """

    multiple: int = 28
    min_pixels: int = 56 * 56
    max_pixels: int = 1792 * 1792

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that a picture is resized to. Raises `MediaError` for one 200 times as long as wide."""
        unit = self.multiple
        if min(height, width) < 1:
            raise MediaError(f"A picture of {width} x {height} pixels has no pixels.")
        if min(height, width) < unit:
            height, width = (
                (unit, round(width / height * unit)) if height < width else (round(height / width * unit), unit)
            )
        elif max(height, width) / min(height, width) > MAX_ASPECT:
            raise MediaError(
                f"A picture of {width} x {height} pixels is more than {MAX_ASPECT} times as long as it is wide; cut it."
            )
        rows, columns = round(height / unit), round(width / unit)
        if rows * columns * unit**2 > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            rows, columns = math.floor(height / shrink / unit), math.floor(width / shrink / unit)
        elif rows * columns * unit**2 < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            rows, columns = math.ceil(height * grow / unit), math.ceil(width * grow / unit)
        if min(rows, columns) == 0:  # a thin picture and a small budget: one row, as long as the budget
            longest = self.max_pixels // unit**2
            rows, columns = max(1, min(rows, longest)), max(1, min(columns, longest))
        return rows * unit, columns * unit

    def __str__(self) -> str:
        return f"native, sides of {self.multiple}, {self.min_pixels} to {self.max_pixels} pixels"


@dataclass(frozen=True)
class Slicing:
    """How one picture is cut: `grid` of tiles of `side` pixels, the picture's size on it, and where it is pasted."""

    side: int
    grid: Grid
    resized: tuple[int, int]
    offset: tuple[int, int]

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of all tiles together."""
        return self.grid[1] * self.side, self.grid[0] * self.side

    @property
    def num_slices(self) -> int:
        """The tiles and the picture as a whole."""
        return 1 + self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class AnyRes:
    """Pictures are cut into tiles of `side` pixels that an encoder of square pictures takes, after one of the whole.

    The grid is the one on which most pixels of the picture survive; of these the one with the least waste; of these the
    first in `grids`. Ref: Liu et al. 2024 (LLaVA-NeXT); Chen et al. 2024 (EMOVA, arXiv 2409.18042).

    >>> AnyRes(side=336).plan(480, 640).grid
    (2, 2)
    """

    side: int
    grids: tuple[Grid, ...] = GRIDS

    def plan(self, height: int, width: int) -> Slicing:
        """How a picture is cut."""
        best = max(self.grids, key=lambda grid: self._worth(grid, height, width))
        rows, columns = best[1] * self.side, best[0] * self.side
        if columns / width < rows / height:
            resized = min(math.ceil(height * (columns / width)), rows), columns
        else:
            resized = rows, min(math.ceil(width * (rows / height)), columns)
        offset = (rows - resized[0]) // 2, (columns - resized[1]) // 2
        return Slicing(self.side, best, resized, offset)

    def __str__(self) -> str:
        return f"slices of {self.side} pixels, up to {max(x * y for x, y in self.grids)} tiles"

    def _worth(self, grid: Grid, height: int, width: int) -> tuple[int, int]:
        columns, rows = grid[0] * self.side, grid[1] * self.side
        scale = min(columns / width, rows / height)
        used = min(math.floor(width * scale) * math.floor(height * scale), width * height)
        return used, used - columns * rows  # most pixels, then least waste


PictureSize = int | PaddedSquare | AnyRes | NativeSize
"""What pictures an encoder takes: squashed to a side in pixels, padded to it, in slices, or at their own size."""


def fixed_side(size: PictureSize) -> int | None:
    """The side of the one square that every picture becomes; None where that depends on the picture."""
    return size.side if isinstance(size, PaddedSquare) else size if isinstance(size, int) else None


def grids_of(max_slices: int) -> tuple[Grid, ...]:
    """Every grid of 2 to `max_slices` tiles, the smaller first."""
    sides = range(1, max_slices + 1)
    grids: Iterable[Grid] = ((x, y) for x in sides for y in sides if 1 < x * y <= max_slices)
    return tuple(sorted(grids, key=lambda grid: (grid[0] * grid[1], grid)))


def unpadded(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of a map that are left when the borders are cut off that a picture of other shape had not filled.

    Ref: Liu et al. 2024 (LLaVA-NeXT), `unpad`.
    """
    if width / height > columns / rows:
        border = (rows - int(height * (columns / width))) // 2
        return rows - 2 * border, columns
    border = (columns - int(width * (rows / height))) // 2
    return rows, columns - 2 * border
