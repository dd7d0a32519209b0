"""The slot `emitter`: how a language model writes units of speech.

A format says where speech stands in a reply: a segment of units. The emitter says what is read and written there.
Whoever trains or asks a language model asks its emitter (`loss`, `generate`, `stream`, `count_tokens`), and gets units
back as `Backbone.unit_text` spells them, so formats and all that reads replies need not know which emitter it was.

`Emitter` by itself has units be tokens of the backbone's vocabulary. A `HiddenEmitter` puts several codes into one
position, or none, and writes from the hidden state what the backbone's own head does not; a backbone that gives the
port `hidden` works with it.
Letters: B batch, W backbone width, K codebooks, T steps, N places of a run, M positions of text, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from omnikit.errors import OmnikitError
from omnikit.slots.backbone import Backbone, Generated, Memory, Segment
from omnikit.slots.base import Component
from omnikit.slots.grammar import Rule
from omnikit.types import Losses

Ids = tuple[tuple[int, ...], ...]
Code = tuple[int, int]
"""A codebook and an entry of it."""
Want = Literal["any", "run", "tail"]
"""What a row may go on with: anything; a unit of the first codebook or the end of the run; that end alone."""
Choose = Callable[[Tensor], Tensor]
"""Entries [R] from logits [R, V], the likeliest or drawn."""


class Emitter(Component):
    """How a language model writes units; by itself, as tokens of its vocabulary, codebook by codebook of every step.

    The methods are those of the backbone, which they ask. Needs ports `hidden` (FramesPort of the backbone's width)
    and `units`, gives `units`; one that reads no hidden states ignores `hidden`.
    """

    def loss(
        self,
        backbone: Backbone,
        sequences: Sequence[Sequence[Segment]],
        *,
        misread: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Losses:
        """Mean negative log-likelihood of everything that is to be written; `Backbone.loss` says the rest.

        Every code counts as one token, whoever writes it.
        """
        return backbone.loss(sequences, misread=misread, generator=generator, **self._beside(backbone))

    def generate(
        self,
        backbone: Backbone,
        prompts: Sequence[Sequence[Segment]],
        *,
        generator: torch.Generator,
        max_new_tokens: int,
        temperature: float = 0.0,
        grammar: Rule | None = None,
    ) -> list[Generated]:
        """Continue each prompt, as `Backbone.generate` does; units are whole steps, spelled codebook by codebook.

        `max_new_tokens` counts positions.
        """
        return backbone.generate(
            prompts,
            generator=generator,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            grammar=grammar,
            **self._beside(backbone),
        )

    def stream(
        self,
        backbone: Backbone,
        prompt: Sequence[Segment],
        *,
        generator: torch.Generator,
        max_new_tokens: int,
        temperature: float = 0.0,
        grammar: Rule | None = None,
        memory: Memory | None = None,
    ) -> Iterator[str]:
        """The text that `generate` gives for one prompt, in pieces, as `Backbone.stream` does."""
        return backbone.stream(
            prompt,
            generator=generator,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            grammar=grammar,
            memory=memory,
            **self._beside(backbone),
        )

    def count_tokens(self, backbone: Backbone, sequence: Sequence[Segment]) -> int:
        """Positions that a sequence takes."""
        return backbone.count_tokens(sequence, **self._beside(backbone))

    def count_trained(self, backbone: Backbone, sequence: Sequence[Segment]) -> int:
        """Tokens and codes of a sequence that `loss` learns: what it says in its part `tokens`."""
        return backbone.count_tokens([segment for segment in sequence if segment.train])

    def _beside(self, backbone: Backbone) -> dict[str, Any]:
        """What the backbone is told beside all else."""
        return {}


@dataclass(frozen=True)
class Place:
    """A position of a run of units: the codes that are read there together, and a control beside them.

    Its token is the control, or else the first code; `chosen` says whether the backbone's own head has to find it.
    """

    codes: tuple[Code, ...] = ()
    control: str | None = None
    chosen: bool = True


@dataclass(frozen=True)
class Run:
    """A run of units that is to be written: `units` [K, T], and hidden states of the sequence around it.

    `before` [N, W] are those that its places are written from; `said` [M, W] those of the text that it says: what was
    written before it in the same reply, or where nothing was, what the user typed. `row` numbers the sequence.
    """

    row: int
    units: Tensor
    before: Tensor
    said: Tensor


@dataclass(frozen=True)
class Token:
    """What the backbone's own head wrote: a unit of the first codebook, a control, or (neither) text."""

    unit: int | None = None
    control: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether it is a piece of text."""
        return self.unit is None and self.control is None


@dataclass(frozen=True)
class Stroke:
    """What an emitter adds to a token: codes read `beside` it, and the `steps` [T][K] that are whole with it.

    `begun` counts the steps that begin with it; they cannot be taken back.
    """

    beside: tuple[Code, ...] = ()
    begun: int = 0
    steps: Ids = ()


class Hand(ABC):
    """An emitter while it writes one batch."""

    def read(self, typed: Sequence[Tensor]) -> None:  # noqa: B027
        """Take the hidden states [M, W] of what each row's user typed; most have no use for them."""

    def wants(self) -> Sequence[Want] | None:
        """What each row may go on with; None where it is anything in all of them."""
        return None

    @abstractmethod
    def write(self, hidden: Tensor, tokens: Sequence[Token]) -> list[Stroke]:
        """Add to the token of every row, which was written from `hidden` [B, W]."""


class HiddenEmitter(Emitter):
    """An emitter that lays units out in places of its own, and writes from hidden states what no token says.

    The backbone calls `places` to lay out sequences, `losses` on what it has read, and a `hand` while it writes.
    """

    codebooks: tuple[int, ...]
    mark: str | None = None
    """The control that the backbone's own head writes for a whole run; None: a unit of the first codebook a step."""
    over: str | None = None
    """The control that it writes when no further step begins, where places follow the last one."""
    tail: int = 0
    """Places behind the one in which the last step of a run begins."""
    reads_typed = False
    """Whether its hand reads what the user typed."""

    @abstractmethod
    def places(self, units: Ids, written: bool) -> list[Place]:
        """The places that units [K][T] take where they are `written`, or where they are only read."""

    @abstractmethod
    def losses(self, backbone: Backbone, runs: Sequence[Run]) -> list[Tensor]:
        """For each run the negative log-likelihoods [n] of the codes that the backbone's own head does not write."""

    @abstractmethod
    def num_unseen(self, num_steps: int) -> int:
        """How many numbers `losses` gives for a run of so many steps."""

    @abstractmethod
    def hand(self, backbone: Backbone, num_rows: int, choose: Choose) -> Hand:
        """Begin to write a batch."""

    def count_trained(self, backbone: Backbone, sequence: Sequence[Segment]) -> int:
        """Tokens and codes of a sequence that `loss` learns: what it says in its part `tokens`."""
        trained = [segment for segment in sequence if segment.train]
        total = backbone.count_tokens([segment for segment in trained if segment.units is None])
        for units in (segment.units for segment in trained if segment.units is not None):
            chosen = sum(place.chosen for place in self.places(units, written=True))
            total += chosen + self.num_unseen(len(units[0]) if units else 0)
        return total

    def _beside(self, backbone: Backbone) -> dict[str, Any]:
        if "hidden" not in backbone.contract(**backbone.parameters_given).gives:
            raise OmnikitError(
                f"{type(backbone).__name__} does not show its hidden states (port `hidden`), which "
                f"{type(self).__name__} reads.\nTake emitter=in_vocab, which works with every backbone."
            )
        if tuple(backbone.codebooks) != self.codebooks:
            raise OmnikitError(
                f"{type(self).__name__} writes units of codebooks {list(self.codebooks)}, the backbone has "
                f"{list(backbone.codebooks)}.\nMake both for the same tokenizer."
            )
        return {"emitter": self}
