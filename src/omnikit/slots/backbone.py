"""The slot `backbone`: the language model that reads text, units and projected features, and writes text and units.

Letters: B batch, L tokens, W backbone width, K codebooks, T units.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omnikit.errors import OmnikitError
from omnikit.slots.base import Component
from omnikit.slots.grammar import Rule
from omnikit.types import Layout, Losses

if TYPE_CHECKING:
    from omnikit.slots.emitter import HiddenEmitter

CONTROLS = (
    "end",
    "start",
    "user",
    "reply",
    "image",
    "/image",
    "speech",
    "/speech",
    "caption",
    "asr",
    "tts",
    "dialogue",
)
"""Marks that every backbone can read and write beside text and units; `end` stops generation."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a sequence: one of `text`, `units` ([K][T] ids), `frames` ([N, W] projected features), `control`.

    `train` marks what the model must learn to write; features are only ever read. `heard` marks features and text that
    were made of a recording: they stand where its units would. Controls are no text: nothing that a user types can
    spell one.
    """

    text: str | None = None
    units: tuple[tuple[int, ...], ...] | None = None
    frames: Tensor | None = None
    control: str | None = None
    train: bool = False
    heard: bool = False

    @property
    def is_speech(self) -> bool:
        """Whether it is (part of) what a user says aloud."""
        return self.heard or self.units is not None


@dataclass(frozen=True)
class Generated:
    """What a backbone wrote: token ids (without the end) and their text, unit tokens spelled as `unit_text` does.

    `finished` says that the end was written; `truncated`, that `max_new_tokens` cut it short: it has no end, or under a
    grammar came to one because at some position the likeliest token left no room for the rest.
    """

    ids: tuple[int, ...]
    text: str
    finished: bool
    truncated: bool = False


@dataclass
class Memory:
    """What a backbone has read of one conversation, so that `stream` need not read it again.

    `kept` is the backbone's own; `reused` counts the positions of the last prompt that were not read again. After a
    stream, `truncated` says of what was written what it says of a `Generated`.
    """

    kept: Any = None
    reused: int = 0
    truncated: bool = False


class Backbone(Component):
    """A language model with unit tokens. Needs ports `embeds` (FramesPort of its width) and `units`; gives `units`.

    One that also gives the port `hidden` (FramesPort of its width) takes an `emitter` in `count_tokens`, `loss`,
    `generate` and `stream`, which lays units out in places of its own and writes them from hidden states; it then has
    `unit_vectors` and `unit_logits`. Without an emitter, every unit is a token of the vocabulary.
    """

    width: int
    codebooks: tuple[int, ...]
    unit_rate: Fraction
    layout: Layout
    vocab_id: str
    max_positions: int | None = None
    """The longest sequence that it reads or writes; None where there is no limit."""

    def undecayed(self) -> list[nn.Parameter]:
        """Tensors of which only some rows learn: weight decay would shrink the others."""
        return []

    @abstractmethod
    def fit_text(self, texts: Iterable[str], vocab_size: int) -> None:
        """Learn how text is cut into tokens; only before training, as it starts the embeddings anew.

        A backbone that comes with its own text vocabulary keeps it.
        """

    @abstractmethod
    def unit_text(self, units: Sequence[Sequence[int]]) -> str:
        """How units [K][T] are spelled in text: each codebook entry is one token."""

    @abstractmethod
    def parse_units(self, text: str) -> tuple[tuple[int, ...], ...]:
        """Units [K][T] spelled in `text`; the inverse of `unit_text`. Raises `OmnikitError` on anything else."""

    @abstractmethod
    def init_unit_embeddings(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Start unit tokens from the tokenizer's own `vectors` [all units, D] (a random projection to the width)."""

    def unit_vectors(self, codebook: int, units: Tensor) -> Tensor:
        """The embeddings […, W] that entries […] of a codebook are read as."""
        raise OmnikitError(f"{type(self).__name__} does not show what units are read as.")

    def unit_logits(self, codebook: int, hidden: Tensor) -> Tensor:
        """What the output layer makes of hidden states […, W] for every entry of a codebook, […, size]."""
        raise OmnikitError(f"{type(self).__name__} does not show its output layer.")

    @abstractmethod
    def count_tokens(self, sequence: Sequence[Segment], emitter: HiddenEmitter | None = None) -> int:
        """Positions that a sequence takes; what length bucketing sorts by."""

    @abstractmethod
    def loss(
        self,
        sequences: Sequence[Sequence[Segment]],
        *,
        misread: float = 0.0,
        generator: torch.Generator | None = None,
        emitter: HiddenEmitter | None = None,
    ) -> Losses:
        """Mean next-token cross-entropy over the trained positions of a batch of segment sequences.

        A share `misread` of the units and of the trained text is read as another token of its kind, drawn by
        `generator`; what is to be learnt stays. Parts: `sequences` [B] mean loss of each row, `tokens` [B] its trained
        positions.
        """

    @abstractmethod
    def generate(
        self,
        prompts: Sequence[Sequence[Segment]],
        *,
        generator: torch.Generator,
        max_new_tokens: int,
        temperature: float = 0.0,
        grammar: Rule | None = None,
        emitter: HiddenEmitter | None = None,
    ) -> list[Generated]:
        """Continue each prompt until the end token; temperature 0 is greedy: a batch then gives what singles give.

        With a `grammar`, every answer is finished and spells one of its replies, whatever the weights.
        """

    def stream(
        self,
        prompt: Sequence[Segment],
        *,
        generator: torch.Generator,
        max_new_tokens: int,
        temperature: float = 0.0,
        grammar: Rule | None = None,
        memory: Memory | None = None,
        emitter: HiddenEmitter | None = None,
    ) -> Iterator[str]:
        """The text that `generate` gives for one prompt, in pieces; a backbone that can gives them while it writes.

        What `memory` holds of the beginning of the prompt need not be read again; the answer is the same.
        """
        beside = {} if emitter is None else {"emitter": emitter}
        (written,) = self.generate(
            [prompt],
            generator=generator,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            grammar=grammar,
            **beside,
        )
        if memory is not None:
            memory.truncated = written.truncated
        yield written.text
