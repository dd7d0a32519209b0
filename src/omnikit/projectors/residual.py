"""`projector/residual`: a normalised multilayer perceptron beside its input, between parts of one width.

Letters: B batch, N positions, C width.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from omnikit.contracts import DERIVED, Contract, FramesPort
from omnikit.errors import OmnikitError
from omnikit.slots.projector import Projector
from omnikit.types import Frames


class ResidualProjector(Projector):
    """Layer normalisation x, then x + MLP(x), for an encoder as wide as the backbone.

    Args:
        dim: width of the encoder's features and of the backbone.

    Contract: frames of width `dim` → embeds of width `dim`.
    Ref: Liu et al. 2023 (the residual block of LLaVA, arXiv 2304.08485).

    >>> ResidualProjector(dim=16)
    """

    def __init__(self, dim: int = DERIVED) -> None:
        super().__init__()
        self.dim = dim
        self.pre_norm = nn.LayerNorm(dim)
        self.proj = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    @classmethod
    def contract(cls, dim: Any) -> Contract:
        return Contract(
            needs={"frames": FramesPort(dim=dim)},
            gives={"embeds": FramesPort(dim=dim)},
            causal=True,
            lookahead_ms=0.0,
        )

    def project(self, frames: Frames) -> Frames:
        """Features [B, N, C] → [B, N, C]. Raises `OmnikitError` for features of another width."""
        if frames.features.shape[-1] != self.dim:
            raise OmnikitError(
                f"projector/residual was made for features of width {self.dim}, not {frames.features.shape[-1]}."
            )
        hidden = self.pre_norm(frames.features)
        return Frames(hidden + self.proj(hidden), frames.lengths, frames.rate)
