"""The slot `detokenizer`: units and a style → waveform."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from omnikit.errors import DataError, OmnikitError, WeightsError
from omnikit.slots.base import Component
from omnikit.types import Audio, Losses, Style, Units

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VoiceBatch:
    """What a detokenizer learns from: units and the sound they should become.

    `units` [B, K, T]; `durations` [B, T] output frames per unit where known (None: the model aligns by itself);
    `audio` the target at the detokenizer's rate. `style` holds the style vectors [B, G] of the targets where they come
    from outside, about as long as those of reference encoders (1); None: its own reference encoder hears the targets.

    Where several processes share a batch, `rows` are the places of these rows in the whole batch (None: they are the
    batch), and rows of which `counts` is False take part in every calculation and in no result.
    """

    units: Units
    audio: Audio
    durations: Tensor | None = None
    rows: tuple[int, ...] | None = None
    counts: bool = True
    style: Style | None = None

    @property
    def places(self) -> tuple[int, ...]:
        """The place of every row in the whole batch: what its random numbers depend on."""
        return tuple(range(len(self.audio.lengths))) if self.rows is None else self.rows


@dataclass(frozen=True)
class VoiceOutput:
    """A training forward: everything its losses need, `real` and `fake` [B, 1, S] segments for the discriminator.

    The losses are those of the whole batch where several processes share it (`nn.processes`). `durations` [B, T] are
    the whole frames of every unit that the model found or was told; None where it knows none. `style` [B, G] is what a
    reference encoder that learns along heard in every row; None without one, and where the style was told.
    """

    real: Tensor
    fake: Tensor
    losses: Losses
    durations: Tensor | None = None
    style: Tensor | None = None


class Detokenizer(Component):
    """A unit-to-speech model. Its contract needs ports `units` and `style` (or ignores it) and gives port `audio`."""

    sample_rate: int
    hop_size: int
    """Samples of one output frame, the unit of `VoiceBatch.durations`."""
    vocab_id: str
    """The unit vocabulary it was trained for."""
    precision: torch.dtype = torch.float32
    """What decoding may calculate its heaviest part in; `torch.bfloat16` is faster where the processor has it."""

    @abstractmethod
    def decode(self, units: Units, style: Style, generator: torch.Generator, durations: Tensor | None = None) -> Audio:
        """Waveforms of the units in the given style; the same generator state gives the same sound on CPU.

        `durations` [B, T] says how many output frames every unit lasts (of the units' valid steps, in whole frames of
        `hop_size` samples once they are summed up); None: as long as the model thinks.
        """

    def stream(self, units: Units | Iterable[Units], style: Style, generator: torch.Generator) -> Iterator[Audio]:
        """Sound of one row of units in pieces, the first as early as can be.

        With all units given, the pieces joined are what `decode` gives. Units may also come piece by piece, from an
        iterator: how they were cut does not change the sound, and the contract's `lookahead_ms` says how much later
        units a moment of sound needs. This default waits for all of them. Raises what `decode` raises, and `DataError`
        for several rows or none.
        """
        yield self.decode(units if isinstance(units, Units) else joined(units), style, generator)

    @abstractmethod
    def style_vectors(self, audio: Audio) -> Tensor | None:
        """Reference embeddings [B, D] of recordings in the space of `decode`; None where it takes no vector.

        Raises `OmnikitError` for a voice whose style vectors come from outside (`use_told_styles`).
        """

    def use_told_styles(self, space_id: str) -> None:
        """Take style vectors of the space `space_id` from now on; every batch to learn from tells them.

        A reference encoder of its own knows nothing of that space, and is given up for good. Raises `OmnikitError`
        where no other style vectors than its own can be learnt.
        """
        raise OmnikitError(
            f"This detokenizer ({type(self).__name__}) learns no style vectors that come from outside: '{space_id}'.\n"
            "Take detokenizer=uvits or cfm_mel, or a style that is learnt with the voice (style=label_centroid)."
        )

    @abstractmethod
    def training_forward(self, batch: VoiceBatch, generator: torch.Generator) -> VoiceOutput:
        """Everything but the adversarial part of the generator's objective."""

    @abstractmethod
    def make_discriminator(self) -> nn.Module | None:
        """The adversary for training: maps [B, 1, S] to (scores, feature maps); None where there is none."""


def joined(pieces: Iterable[Units]) -> Units:
    """Pieces of one row of units as one. Raises `DataError` for none, for several rows, or where they do not belong."""
    found = list(pieces)
    if not found:
        raise DataError("No units came: the stream of units ended before its first one.")
    first = found[0]
    for piece in found:
        if len(piece.lengths) != 1:
            raise DataError(f"A stream speaks one row of units, {len(piece.lengths)} were given; decode takes batches.")
        if (piece.vocab_id, piece.sizes, piece.layout) != (first.vocab_id, first.sizes, first.layout):
            raise DataError("The pieces of a stream of units are of two vocabularies or layouts; they never mix.")
    codes = torch.cat([piece.codes[..., : int(piece.lengths[0])] for piece in found], -1)  # [1, K, T]
    lengths = torch.tensor([codes.shape[-1]], device=first.lengths.device)
    return replace(first, codes=codes, lengths=lengths, durations=None)


def sound_of(wave: Tensor) -> Tensor:
    """Samples as they may leave a detokenizer: float32 in [-1, 1]. What goes beyond is cut, and a warning says so.

    Raises `WeightsError` for samples that are no numbers.
    """
    wave = wave.float()
    peak = float(wave.abs().max()) if wave.numel() else 0.0
    if not peak < float("inf"):
        raise WeightsError(
            "The detokenizer made samples that are no finite numbers. Its weights are broken, or its input is\n"
            "far from anything that it was trained on."
        )
    if peak > 1:
        _log.warning(
            "%d of %d samples went beyond ±1 (peak %.3g) and were cut", (wave.abs() > 1).sum(), wave.numel(), peak
        )
    return wave.clamp(-1, 1)
