"""Features of the slices of one picture joined into one sequence; the slices are those of `picture_sizes.AnyRes`.

Letters: S slices, N positions of a slice, W width, X columns and Y rows of tiles, M positions of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from omnikit.errors import OmnikitError
from omnikit.nn.picture_sizes import Grid, Slicing, unpadded


def join_flat(features: Tensor) -> Tensor:
    """Slices [S, N, W] behind each other, [S N, W]: the picture as a whole, then its tiles row by row."""
    return features.flatten(0, 1)


def join_spatial(
    features: Tensor, plan: Slicing, size: tuple[int, int] | None = None, newline: Tensor | None = None
) -> Tensor:
    """Slices [S, N, W] as the whole picture [N, W] and the map of its tiles in row-major order, [M, W].

    With `newline` [W], the map is cut to the part that a picture of `size` (height, width) fills, and every row ends
    in it. A picture of one slice is that slice, and the newline. Raises `OmnikitError` for another number of slices.
    Ref: Liu et al. 2024 (LLaVA-NeXT); Chen et al. 2024 (EMOVA, arXiv 2409.18042).
    """
    if len(features) == 1:
        whole = features[0]
        return whole if newline is None else torch.cat([whole, newline[None]])
    if len(features) != plan.num_slices:
        raise OmnikitError(f"{len(features)} slices are no picture cut into {plan.grid[0]} x {plan.grid[1]} tiles.")
    tiles = tile_map(features[1:], plan.grid)  # [rows, columns, W]
    if newline is not None:
        if size is None:
            raise OmnikitError("join_spatial needs the size of the picture where a newline is given.")
        rows, columns = unpadded(tiles.shape[0], tiles.shape[1], *size)
        top, left = (tiles.shape[0] - rows) // 2, (tiles.shape[1] - columns) // 2
        tiles = tiles[top : top + rows, left : left + columns]
        tiles = torch.cat([tiles, newline.expand(rows, 1, -1)], dim=1)
    return torch.cat([features[0], tiles.flatten(0, 1)])


def join_pictures(features: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """Slices of several pictures [S, N, W] as one sequence [M, W] for each: the whole picture, then its tiles.

    Where N is a square, the tiles become one map in row-major order; else they stand behind each other.
    """
    found = []
    for slices, grid in zip(features.split([1 + columns * rows for columns, rows in grids]), grids, strict=True):
        side = math.isqrt(features.shape[1])
        if side**2 == features.shape[1]:
            found.append(torch.cat([slices[0], tile_map(slices[1:], grid).flatten(0, 1)]))
        else:
            found.append(join_flat(slices))
    return found


def tile_map(tiles: Tensor, grid: Grid) -> Tensor:
    """Tiles [X Y, N, W], N a square, put together as one map [rows, columns, W]."""
    side = math.isqrt(tiles.shape[1])
    return rearrange(tiles, "(y x) (r c) w -> (y r) (x c) w", x=grid[0], c=side)


def slices_length(plan: Slicing, side: int, size: tuple[int, int], newline: bool) -> int:
    """Positions of `join_spatial` for slices of `side` x `side` positions, before any tensor is made."""
    if not newline:
        return plan.num_slices * side**2
    rows, columns = unpadded(plan.grid[1] * side, plan.grid[0] * side, *size)
    return side**2 + rows * (columns + 1)
