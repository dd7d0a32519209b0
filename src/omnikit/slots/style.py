"""The slot `style`: how something is said, as labels and as the vector that a detokenizer accepts.

Letters: B batch, N examples, D style width, S samples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from omnikit.errors import ContractError, MediaError, OmnikitError
from omnikit.slots.base import Component
from omnikit.types import Audio, Labels, Losses, Style, StyleSource

View = Literal["audio", "text", "draw"]
SILENCE_PEAK = 1e-4
_WAYS: dict[View, str] = {
    "audio": "recordings (style=reference does)",
    "text": "descriptions in words (style=text_prompt does)",
    "draw": "random draws (style=gmvae does)",
}


class StyleModule(Component):
    """A style module. Its contract gives port `style` (StylePort).

    Every style module takes labels (a module without factors takes the empty ones and gives its one default style);
    `views` says what else it makes styles from: `audio`, `text`, or random draws (`draw`).
    """

    views: frozenset[View] = frozenset()

    @property
    @abstractmethod
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """The factors it knows and the values of each, the first value being the default; empty for `style/none`."""

    @property
    def scales(self) -> Mapping[str, Mapping[str, float]]:
        """Factors whose values lie on a line, with the position of each: a label may be any number between the ends."""
        return {}

    def count_of(self, labels: Mapping[str, str]) -> int | None:
        """How many recordings stand behind a combination of named labels; None for a module that keeps no count."""
        return None

    @abstractmethod
    def from_labels(self, labels: Sequence[Labels], source: StyleSource = "user") -> Style:
        """Styles of a batch from factor → value mappings (missing factors take the default).

        Raises `UnknownName` for a factor or value that does not exist.
        """

    @abstractmethod
    def fit(self, vectors: Tensor, labels: Sequence[Labels], space_id: str) -> None:
        """Learn from example `vectors` [N, D] of the space `space_id` and their labels what one pass can tell."""

    def from_audio(self, audio: Audio, source: StyleSource = "user") -> Style:
        """Styles of recordings [B, S], each computed alone.

        Raises `MediaError` for silence, NaN or too little sound, `ContractError` for another sample rate.
        """
        raise self._no_view("audio")

    def from_text(self, texts: Sequence[str], source: StyleSource = "user") -> Style:
        """Styles that descriptions in words name."""
        raise self._no_view("text")

    def draw(self, num_styles: int, generator: torch.Generator) -> Style:
        """Random styles of the kind that it learnt from."""
        raise self._no_view("draw")

    def _no_view(self, view: View) -> OmnikitError:
        taken = ", ".join(["labels", *sorted(self.views)])
        return OmnikitError(
            f"This style module ({type(self).__name__}) makes no styles from {_WAYS[view]}.\nIt takes: {taken}."
        )


class LearnedStyle(StyleModule):
    """A style module that stage `style` trains by gradient, in the space of a trained detokenizer.

    Before training, `fit` is called once with all examples.
    """

    @abstractmethod
    def loss(
        self, vectors: Tensor, labels: Sequence[Labels], texts: Sequence[str], generator: torch.Generator
    ) -> Losses:
        """The objective on examples: `vectors` [B, D], their labels, and a description of each in words."""


def check_examples(owner: str, vectors: Tensor, labels: Sequence[Labels], dim: int) -> Tensor:
    """The example vectors [N, D] as float64 on the CPU.

    Raises `OmnikitError` unless there is one finite vector of `dim` numbers for every row of labels, and one at least.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dim or len(vectors) != len(labels) or not len(labels):
        raise OmnikitError(
            f"{owner}: {len(labels)} rows of labels and vectors {list(vectors.shape)} do not fit;\n"
            f"give one vector of {dim} numbers for every row of labels."
        )
    if not bool(vectors.isfinite().all()):
        raise OmnikitError(f"{owner}: the example vectors hold NaN or infinite numbers.")
    return vectors.detach().to(dtype=torch.float64, device="cpu")


def reference_waves(audio: Audio, sample_rate: int, min_samples: int) -> list[Tensor]:
    """The rows of `audio` [B, S] without padding, each fit to take a style from.

    Raises `ContractError` for another sample rate, `MediaError` for a row that is shorter than `min_samples`, not
    finite, or silent (peak below 1e-4).
    """
    if audio.sample_rate != sample_rate:
        raise ContractError(
            f"The reference audio is at {audio.sample_rate} Hz, this style module takes {sample_rate} Hz.\n"
            f"Resample it to {sample_rate} Hz first."
        )
    waves = []
    for row, length in enumerate(audio.lengths.tolist()):
        wave = audio.wave[row, :length]
        if length < min_samples:
            raise MediaError(
                f"Recording {row} has {length} samples; a style needs at least {min_samples} "
                f"({1000 * min_samples / sample_rate:.0f} ms)."
            )
        if not bool(wave.isfinite().all()):
            raise MediaError(f"Recording {row} holds samples that are NaN or infinite.")
        if float(wave.abs().max()) < SILENCE_PEAK:
            raise MediaError(f"There is only silence in recording {row}; a style needs a voice.")
        waves.append(wave)
    return waves
