"""The slot `tokenizer`: waveform → discrete units, and what units mean as vectors."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from omnikit.slots.base import Component
from omnikit.types import Audio, Frames, Losses, Units


class SpeechTokenizer(Component):
    """A speech-to-unit model. Its contract needs port `audio` (AudioPort) and gives port `units` (UnitsPort)."""

    vocab_id: str
    """Name of the meaning of its ids; set from the weights when they are saved."""

    @abstractmethod
    def encode(self, audio: Audio) -> Units:
        """Units of a batch of waveforms (resampled to the tokenizer's rate by the caller); batched equals single."""

    @abstractmethod
    def embed(self, units: Units) -> Frames:
        """The vectors that units stand for inside the tokenizer, e.g. FSQ digits: features [B, T, D]."""

    @abstractmethod
    def loss(self, audio: Audio, phones: Tensor, phone_lengths: Tensor) -> Losses:
        """The supervised objective: `phones` [B, N] class indices, `phone_lengths` [B]."""

    @abstractmethod
    def read_phones(self, audio: Audio) -> list[list[int]]:
        """Phone indices read back from the units of each row (the diagnostic head), for phone error rates."""
