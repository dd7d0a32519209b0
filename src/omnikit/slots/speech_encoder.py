"""The slot `speech_encoder`: waveform → continuous features for the backbone, an alternative to units."""

from __future__ import annotations

import math
from abc import abstractmethod
from fractions import Fraction
from typing import Any

from omnikit.slots.base import Component
from omnikit.types import Audio, Frames


class SpeechEncoder(Component):
    """A continuous speech path. Its contract gives port `frames`; `speech_encoder/none` gives nothing."""

    @abstractmethod
    def encode(self, audio: Audio) -> Frames | None:
        """Features [B, T, D] of the waveforms, or None where the system hears through units alone."""

    def num_steps(self, num_samples: int) -> int:
        """Steps T that a recording of so many samples takes, before any tensor is made.

        One for every period of the contract's rate that has begun; another rule is a method of its own.
        """
        contract: Any = self.contract(**self.parameters_given)
        if "frames" not in contract.gives:
            return 0
        periods = Fraction(num_samples) * contract.gives["frames"].rate / contract.needs["audio"].sample_rate
        return math.ceil(periods)
