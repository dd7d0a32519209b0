"""`projector/none`: features go on as they are, where an encoder has a map of its own or none is needed."""

from __future__ import annotations

from typing import Any

from omnikit.contracts import DERIVED, Contract, FramesPort
from omnikit.errors import OmnikitError
from omnikit.slots.projector import Projector
from omnikit.types import Frames


class NoProjector(Projector):
    """The identity: an encoder's features are what the backbone reads.

    Args:
        dim: width of both.

    Contract: frames of width `dim` → the same as embeds.

    >>> NoProjector(dim=16)
    """

    def __init__(self, dim: int = DERIVED) -> None:
        super().__init__()
        self.dim = dim

    @classmethod
    def contract(cls, dim: Any) -> Contract:
        return Contract(
            needs={"frames": FramesPort(dim=dim)},
            gives={"embeds": FramesPort(dim=dim)},
            causal=True,
            lookahead_ms=0.0,
        )

    def project(self, frames: Frames) -> Frames:
        """The features [B, N, C] themselves. Raises `OmnikitError` for features of another width."""
        if frames.features.shape[-1] != self.dim:
            raise OmnikitError(
                f"projector/none passes on features of width {self.dim}, not {frames.features.shape[-1]}."
            )
        return frames
