"""`input_style/none`: the backbone learns what the user says, not how."""

from __future__ import annotations

from omnikit.contracts import AudioPort, Contract
from omnikit.slots.backbone import Segment
from omnikit.slots.input_style import InputStyle
from omnikit.types import Audio


class NoInputStyle(InputStyle):
    """Nothing stands before the user's units: the system of the EMOVA paper.

    Contract: audio of any rate → nothing.
    """

    @classmethod
    def contract(cls) -> Contract:
        return Contract(needs={"audio": AudioPort()}, causal=True, lookahead_ms=0.0)

    def read(self, audio: Audio) -> list[Segment | None]:
        """None for every recording."""
        return [None] * len(audio.lengths)

    def blank(self) -> None:
        """None: nothing is read."""
        return None
