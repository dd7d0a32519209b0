"""Features of the slices of one picture joined into one sequence; the slices are those of `picture_sizes.AnyRes`.

Letters: S slices, N positions of a slice, W width, X columns and Y rows of tiles, M positions of the picture.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from omnikit.errors import OmnikitError
from omnikit.nn.picture_sizes import Slicing, unpadded


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
    side = round(features.shape[1] ** 0.5)
    tiles = rearrange(features[1:], "(y x) (r c) w -> (y r) (x c) w", x=plan.grid[0], c=side)  # [rows, columns, W]
    if newline is not None:
        if size is None:
            raise OmnikitError("join_spatial needs the size of the picture where a newline is given.")
        rows, columns = unpadded(tiles.shape[0], tiles.shape[1], *size)
        top, left = (tiles.shape[0] - rows) // 2, (tiles.shape[1] - columns) // 2
        tiles = tiles[top : top + rows, left : left + columns]
        tiles = torch.cat([tiles, newline.expand(rows, 1, -1)], dim=1)
    return torch.cat([features[0], tiles.flatten(0, 1)])


def slices_length(plan: Slicing, side: int, size: tuple[int, int], newline: bool) -> int:
    """Positions of `join_spatial` for slices of `side` x `side` positions, before any tensor is made."""
    if not newline:
        return plan.num_slices * side**2
    rows, columns = unpadded(plan.grid[1] * side, plan.grid[0] * side, *size)
    return side**2 + rows * (columns + 1)
