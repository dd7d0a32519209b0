"""`speech_encoder/none`: the system hears through units alone."""

from __future__ import annotations

from omnikit.contracts import AudioPort, Contract
from omnikit.slots.speech_encoder import SpeechEncoder
from omnikit.types import Audio


class NoSpeechEncoder(SpeechEncoder):
    """No continuous speech path: gives no features, whatever it hears.

    Contract: audio of any rate → nothing.
    """

    @classmethod
    def contract(cls) -> Contract:
        return Contract(needs={"audio": AudioPort()}, causal=True, lookahead_ms=0.0)

    def encode(self, audio: Audio) -> None:
        """None: there are no features."""
        return None
