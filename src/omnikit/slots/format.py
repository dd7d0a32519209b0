"""The slot `format`: how a spoken turn is written as a token sequence, and read back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from omnikit.slots.backbone import Backbone, Segment
from omnikit.slots.base import Component
from omnikit.slots.grammar import Rule
from omnikit.types import SpokenTurn


class Format(Component):
    """A reply format: prompts for each task, the trained target, a parser that never raises on model output, a grammar.

    Its contract gives port `labels` (LabelsPort): the factors of the style that its dialogue answers name.
    """

    tasks: tuple[str, ...]
    """`caption` (image → text), `asr` (units → text), `tts` (text → units), `dialogue` (image, units, text → turn)."""
    factors: tuple[str, ...]
    """The style factors that a dialogue answer names, in the order in which they are written."""

    @abstractmethod
    def prompt(
        self, task: str, user: Sequence[Segment], history: Sequence[tuple[Sequence[Segment], SpokenTurn]] = ()
    ) -> list[Segment]:
        """What the backbone reads before it answers: earlier (user segments, reply) turns, then the user's segments."""

    @abstractmethod
    def target(self, task: str, turn: SpokenTurn, backbone: Backbone) -> list[Segment]:
        """What the backbone must write for `turn`, as trained segments that close with the control `end`."""

    @abstractmethod
    def parse(self, task: str, raw: str, backbone: Backbone) -> SpokenTurn:
        """The turn that `raw` spells; `parse_ok` is False (and what can be read is kept) when it is malformed."""

    @abstractmethod
    def grammar(self, task: str, backbone: Backbone, values: Mapping[str, Sequence[str]]) -> Rule:
        """All answers that `target` writes and `parse` reads as well-formed, for decoding that cannot leave them.

        `values` are those that the style module knows for each factor; a factor that it lacks takes any text.
        """
