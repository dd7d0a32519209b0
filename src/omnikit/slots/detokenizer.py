"""The slot `detokenizer`: units and a style → waveform."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from omnikit.slots.base import Component
from omnikit.types import Audio, Losses, Style, Units


@dataclass(frozen=True)
class VoiceBatch:
    """What a detokenizer learns from: units and the sound they should become.

    `units` [B, K, T]; `durations` [B, T] output frames per unit where known (None: the model aligns by itself);
    `audio` the target at the detokenizer's rate.
    """

    units: Units
    audio: Audio
    durations: Tensor | None = None


@dataclass(frozen=True)
class VoiceOutput:
    """A training forward: everything its losses need, `real` and `fake` [B, 1, S] segments for the discriminator."""

    real: Tensor
    fake: Tensor
    losses: Losses


class Detokenizer(Component):
    """A unit-to-speech model. Its contract needs ports `units` and `style` (or ignores it) and gives port `audio`."""

    sample_rate: int
    hop_size: int
    """Samples of one output frame, the unit of `VoiceBatch.durations`."""
    vocab_id: str
    """The unit vocabulary it was trained for."""

    @abstractmethod
    def decode(self, units: Units, style: Style, generator: torch.Generator) -> Audio:
        """Waveforms of the units in the given style; the same generator state gives the same sound on CPU."""

    @abstractmethod
    def style_vectors(self, audio: Audio) -> Tensor | None:
        """Reference embeddings [B, D] of recordings in the space of `decode`; None where it takes no vector."""

    @abstractmethod
    def training_forward(self, batch: VoiceBatch, generator: torch.Generator) -> VoiceOutput:
        """Everything but the adversarial part of the generator's objective."""

    @abstractmethod
    def make_discriminator(self) -> nn.Module | None:
        """The adversary for training: maps [B, 1, S] to (scores, feature maps); None where there is none."""
