"""The slot `tokenizer`: waveform → discrete units, and what units mean as vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from omnikit.errors import OmnikitError
from omnikit.slots.base import Component
from omnikit.slots.unit_stream import Live, UnitStream, encode_live
from omnikit.types import Audio, Frames, Losses, Units

LabelKind = Literal["phones", "characters", "nothing"]


@dataclass(frozen=True)
class FrameEncoder:
    """What self-supervised pre-training takes of a tokenizer: its front end, and the encoder that learns.

    `frames(audio)` gives features [B, F, M] (zeros beyond a row's end) and their lengths [B]; `encoder(features,
    lengths)` gives steps [B, T, dim] and their lengths, one step for every `stride` frames, rounded up. `mask_frame`
    [M] is a buffer of the tokenizer that stands for hidden frames.
    """

    frames: Callable[[Audio], tuple[Tensor, Tensor]]
    encoder: nn.Module
    mask_frame: Tensor
    dim: int
    stride: int


class SpeechTokenizer(Component):
    """A speech-to-unit model. Its contract needs port `audio` (AudioPort) and gives port `units` (UnitsPort)."""

    vocab_id: str
    """Name of the meaning of its ids; set from the weights when they are saved."""

    labels: LabelKind = "phones"
    """What `loss` learns from and `read_labels` reads back; `nothing` learns from sound alone and reads nothing."""

    precision: torch.dtype = torch.float32
    """What `encode` computes in where the tokenizer can choose; bfloat16 is faster, and some ids differ."""

    is_fitted_afterwards: bool = False
    """Whether its units are found by `fit_units` once training is over."""

    @abstractmethod
    def encode(self, audio: Audio) -> Units:
        """Units of a batch of waveforms (resampled to the tokenizer's rate by the caller); batched equals single."""

    def stream(self, chunks: Iterable[Audio], live: Live | None = None) -> Iterator[Units]:
        """Units of one recording while it arrives: pieces which, joined, are what `encode_live` gives.

        `chunks` are one row each, of any lengths; how the sound was cut does not change the units. `live` says how much
        is heard at once, and how much is waited for: the contract's `lookahead_ms` is that of the default. Raises
        `MediaError` for sound that cannot be read, and where there is none.
        """
        state = UnitStream(self, live)
        for chunk in chunks:
            if (units := state.feed(chunk)) is not None:
                yield units
        if (units := state.finish()) is not None:
            yield units

    def encode_live(self, audio: Audio, live: Live | None = None) -> Units:
        """Units of a batch of waveforms as `stream` would give them: every block from the sound around it alone."""
        return encode_live(self, audio, live)

    @abstractmethod
    def embed(self, units: Units) -> Frames:
        """The vectors that units stand for inside the tokenizer, e.g. FSQ digits: features [B, T, D]."""

    def features(self, audio: Audio) -> Frames | None:
        """The frames [B, T, D] that are about to be made discrete, in evaluation; None where there are none to show.

        What probes read here but not from the units is what the bottleneck took away.
        """
        return None

    @abstractmethod
    def loss(self, audio: Audio, phones: Tensor, phone_lengths: Tensor) -> Losses:
        """The objective, a mean over rows: `phones` [B, N] are class indices of its `labels`, `phone_lengths` [B]."""

    @abstractmethod
    def read_phones(self, audio: Audio) -> list[list[int]]:
        """Phone indices read back from the units of each row (the diagnostic head), for phone error rates.

        Raises `OmnikitError` where `labels` is not `phones`.
        """

    def read_labels(self, audio: Audio) -> list[list[int]]:
        """Indices of its `labels` read back from the units of each row. Raises `OmnikitError` where that is nothing."""
        return self.read_phones(audio)

    def fit_units(self, recordings: Iterable[Audio], generator: torch.Generator) -> None:
        """Find the units of a trained encoder from recordings; called where `is_fitted_afterwards` says so."""
        raise TypeError(f"{type(self).__name__} learns its units during training.")

    def frame_encoder(self) -> FrameEncoder:
        """The encoder that can be pre-trained on speech without labels. Raises `OmnikitError` where there is none."""
        raise OmnikitError(
            f"{type(self).__name__} has no encoder that self-supervised pre-training can teach.\n"
            "Leave the stage out (stage=tokenizer trains it from labels), or choose tokenizer=spiral_fsq."
        )
