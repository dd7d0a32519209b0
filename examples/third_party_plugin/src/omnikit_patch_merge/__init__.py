"""`projector/patch_merge`: four neighbouring patches become one position.

Letters: B batch, N patches on a square grid, C encoder width, W backbone width.
"""

from __future__ import annotations

import math
from typing import Any

from einops import rearrange
from torch import nn

from omnikit import DERIVED, Contract, Frames, FramesPort, OmnikitError
from omnikit.slots.projector import Projector


class PatchMerge(Projector):
    """2 x 2 patches side by side, one linear map: a picture takes a quarter of the positions.

    Contract: N patches of width `in_dim` in row-major order on an even square grid → N / 4 embeds of `out_dim`.
    Ref: the pixel shuffle of Chen et al. 2024 (InternVL 1.5, arXiv 2404.16821).
    """

    def __init__(self, in_dim: int = DERIVED, out_dim: int = DERIVED, num_patches: int = DERIVED) -> None:
        super().__init__()
        self.in_dim, self.side = in_dim, math.isqrt(num_patches)
        if self.side**2 != num_patches or self.side % 2:
            raise OmnikitError(f"projector/patch_merge: {num_patches} patches are no square grid with even sides.")
        self.linear = nn.Linear(4 * in_dim, out_dim)

    @classmethod
    def contract(cls, in_dim: Any, out_dim: Any, num_patches: Any) -> Contract:
        """N patches in, N / 4 positions out."""
        merged = num_patches // 4 if isinstance(num_patches, int) else None
        return Contract(
            needs={"frames": FramesPort(dim=in_dim, length=num_patches)},
            gives={"embeds": FramesPort(dim=out_dim, length=merged)},
        )

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, C] → [B, N / 4, W]. Raises `OmnikitError` for another shape, or features with a clock."""
        if frames.rate is not None or frames.features.shape[1:] != (self.side**2, self.in_dim):
            raise OmnikitError(
                f"projector/patch_merge takes {self.side**2} patches of width {self.in_dim} and no rate, "
                f"not {list(frames.features.shape)} at {frames.rate} Hz."
            )
        square = {"h": self.side // 2, "i": 2, "j": 2}
        merged = rearrange(frames.features, "b (h i w j) c -> b (h w) (i j c)", **square)  # [B, N / 4, 4 · C]
        return Frames(self.linear(merged), frames.lengths // 4)
