"""The slot `speech_encoder`: waveform → continuous features for the backbone, an alternative to units."""

from __future__ import annotations

from abc import abstractmethod

from omnikit.slots.base import Component
from omnikit.types import Audio, Frames


class SpeechEncoder(Component):
    """A continuous speech path. Its contract gives port `frames`; `speech_encoder/none` gives nothing."""

    @abstractmethod
    def encode(self, audio: Audio) -> Frames | None:
        """Features [B, T, D] of the waveforms, or None where the system hears through units alone."""
