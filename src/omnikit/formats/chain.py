"""What the formats of the chain of modality share: prompts, answers in plain text or units, and reading units.

The chain is heard text → reply text → style → units of Chen et al. 2024 (EMOVA, arXiv 2409.18042, section 3.3), after
Zhang et al. 2023 (SpeechGPT, arXiv 2305.11000). Letters: K codebooks, T units.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

import torch

from omnikit.contracts import Contract, LabelsPort
from omnikit.errors import OmnikitError, unknown_name
from omnikit.slots.backbone import Backbone, Segment
from omnikit.slots.format import Format
from omnikit.slots.grammar import EMPTY, Character, Rule, choice, literal, some_units
from omnikit.slots.units import first_ids
from omnikit.types import SpokenTurn, Style, Units

TASKS = ("caption", "asr", "tts", "dialogue")
FACTORS = ("emotion", "pitch", "speed")
HEARD, REPLY, UNITS = "heard", "reply", "units"
MARK = re.compile(r"<\|[^<>|]*\|>")

Ids = tuple[tuple[int, ...], ...]
Values = Mapping[str, Sequence[str]]


class Parts(NamedTuple):
    """What a dialogue answer says: the words, the labels of the user's and of its own style, the units [K][T]."""

    heard: str | None
    reply: str
    labels: Mapping[str, str]
    units: Ids | None
    user_labels: Mapping[str, str] = {}


class ChainFormat(Format):
    """A format whose dialogue answer follows the chain; captions, transcripts and speech are plain text or units.

    Each key is conditioned on all before it. What the user said is written only where it was heard, style only where
    the turn has labels, units only where it is spoken. Questions are marked by one control token a task, in no words.
    A subclass says how the parts are written (`write`), read (`read`) and held to a grammar (`rule`).
    """

    tasks = TASKS
    name: str
    """As in the id `format/name`, for errors."""

    def __init__(self, factors: Sequence[str] = FACTORS) -> None:
        super().__init__()
        self.factors = tuple(factors)
        taken = {HEARD, REPLY, UNITS}
        if len(set(self.factors)) != len(self.factors) or taken & set(self.factors):
            raise OmnikitError(
                f"format/{self.name}: factors {list(self.factors)} must differ, also from {sorted(taken)}."
            )

    @classmethod
    def contract(cls, factors: Sequence[str]) -> Contract:
        return Contract(gives={"labels": LabelsPort(tuple(factors))}, causal=True, lookahead_ms=0.0)

    @abstractmethod
    def write(self, parts: Parts) -> list[str | Ids]:
        """Text and units of a dialogue answer in order."""

    @abstractmethod
    def read(self, raw: str, backbone: Backbone) -> tuple[Parts, bool]:
        """What can be read of a dialogue answer, and whether it is well-formed."""

    @abstractmethod
    def rule(self, num_codebooks: int, values: Values) -> Rule:
        """All dialogue answers; a factor that `values` lacks has any text."""

    def prompt(
        self, task: str, user: Sequence[Segment], history: Sequence[tuple[Sequence[Segment], SpokenTurn]] = ()
    ) -> list[Segment]:
        """Earlier turns (the user's segments and the reply's text), the user's segments, and the mark of the task."""
        self.check_task(task)
        segments = [Segment(control="start")]
        for earlier, reply in history:
            segments += [*self.user_turn(task, earlier), Segment(text=reply.text), Segment(control="end")]
        return [*segments, *self.user_turn(task, user)]

    def user_turn(self, task: str, user: Sequence[Segment]) -> list[Segment]:
        """What the user shows, says or types, each kind between its marks, then the task."""
        segments = [Segment(control="user")]
        for is_speech, run in groupby(user, key=lambda segment: segment.is_speech):
            if is_speech:
                segments += [Segment(control="speech"), *run, Segment(control="/speech")]
                continue
            for segment in run:
                shown = segment.frames is not None
                segments += [Segment(control="image"), segment, Segment(control="/image")] if shown else [segment]
        return [*segments, Segment(control=task), Segment(control="reply")]

    def target(self, task: str, turn: SpokenTurn, backbone: Backbone) -> list[Segment]:
        """The answer as trained segments. Raises `OmnikitError` when the task needs what the turn lacks."""
        self.check_task(task)
        end = Segment(control="end", train=True)
        if task in ("caption", "asr"):
            return [Segment(text=turn.text, train=True), end]
        units = None if turn.units is None else first_ids(turn.units)
        if task == "tts":
            if units is None:
                raise OmnikitError(f"format/{self.name}: a tts target needs the units of the turn.")
            return [Segment(units=units, train=True), end]
        said, heard = (self.labels_of(style) for style in (turn.style, turn.user_style))
        written = self.write(Parts(turn.user_text, turn.text, said, units, heard))
        return [*(_segment(item) for item in written), end]

    def parse(self, task: str, raw: str, backbone: Backbone) -> SpokenTurn:
        """The turn that `raw` spells. Never raises on `raw`; what can be read of a malformed answer is kept."""
        self.check_task(task)
        if task in ("caption", "asr"):
            text = MARK.sub("", raw)
            return SpokenTurn(text=text.strip(), raw=raw, parse_ok=text == raw and bool(text.strip()))
        if task == "tts":
            ids, whole = read_units(raw, backbone)
            return SpokenTurn(text="", units=_units(ids, backbone), raw=raw, parse_ok=whole)
        parts, well_formed = self.read(raw, backbone)
        return SpokenTurn(
            text=parts.reply,
            user_text=parts.heard,
            style=_style(parts.labels),
            units=_units(parts.units, backbone),
            raw=raw,
            parse_ok=well_formed,
            user_style=_style(parts.user_labels),
        )

    def grammar(self, task: str, backbone: Backbone, values: Values) -> Rule:
        """All well-formed answers; a factor of the style takes one of its `values`, or any text where it has none."""
        self.check_task(task)
        num_codebooks = len(backbone.codebooks)
        if task in ("caption", "asr"):
            return PlainText()
        return some_units(num_codebooks) if task == "tts" else self.rule(num_codebooks, values)

    def labels_of(self, style: Style) -> dict[str, str]:
        """The labels of a style in the order of the factors; none where it has no labels."""
        labels = style.labels[0] if style.labels else {}
        missing = [factor for factor in self.factors if factor not in labels]
        if labels and missing:
            raise OmnikitError(
                f"format/{self.name}: the style of a turn must name {', '.join(self.factors)}; it lacks {missing[0]}."
            )
        return {factor: str(labels[factor]) for factor in self.factors} if labels else {}

    def is_spelling_of(self, raw: str, parts: Parts, backbone: Backbone) -> bool:
        """Whether `raw` is just what `write` makes of these parts."""
        if parts.labels and tuple(parts.labels) != self.factors:
            return False
        written = self.write(parts)
        return raw == "".join(item if isinstance(item, str) else backbone.unit_text(item) for item in written)

    def check_task(self, task: str) -> None:
        """Raises `UnknownName` for a task that does not exist."""
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)


@dataclass(frozen=True)
class PlainText(Rule):
    """Text without marks that neither begins nor ends with white space: a caption or a transcript.

    `last` is what stands at the end of what was read: nothing, a space, the first letter of a mark, or any other.
    """

    last: str = ""
    inside: Rule = EMPTY

    @property
    def cost(self) -> int:  # type: ignore[override]
        return self.inside.cost + (self.last in ("", " "))

    def byte(self, value: int) -> Rule | None:
        if self.inside != EMPTY:
            after = self.inside.byte(value)
            return None if after is None else PlainText(self.last, after)
        starts = ((" ", is_space), ("<", is_angle), ("x", is_after_angle if self.last == "<" else is_plain))
        options = []
        for last, kind in starts:
            after = Character(kind).byte(value)
            if after is not None and (self.last or last != " "):
                options.append(PlainText(last, after))
        return choice(*options) if options else None

    def unit(self, codebook: int) -> Rule | None:
        return None


def is_space(letter: str) -> bool:
    """White space of any script."""
    return letter.isspace()


def is_angle(letter: str) -> bool:
    """The letter that every mark begins with."""
    return letter == "<"


def is_plain(letter: str) -> bool:
    """Neither white space nor the beginning of a mark."""
    return letter != "<" and not letter.isspace()


def is_after_angle(letter: str) -> bool:
    """A plain letter that makes no mark of the `<` before it."""
    return letter != "|" and is_plain(letter)


def value_of(factor: str, values: Values, spell: Callable[[str], str], free: Rule) -> Rule:
    """One of the values of a factor as `spell` writes it; `free` where none are known."""
    known = values.get(factor, ())
    return choice(*(literal(spell(value)) for value in known)) if known else free


def read_units(text: str, backbone: Backbone) -> tuple[Ids | None, bool]:
    """The units that `text` spells, and whether it spells nothing else; the longest readable start where it does."""
    marks = MARK.findall(text)
    ids, whole = _parse_units(text, backbone), True
    if ids is None:
        whole = False
        readable, unreadable = 0, len(marks) + 1
        while unreadable - readable > 1:  # binary search: every whole-step start of a readable start is readable
            middle = (readable + unreadable) // 2
            step = middle - middle % len(backbone.codebooks)
            if step <= readable:
                readable, unreadable = readable, middle
            elif _parse_units("".join(marks[:step]), backbone) is None:
                unreadable = step
            else:
                readable = middle
        kept = readable - readable % len(backbone.codebooks)
        ids = _parse_units("".join(marks[:kept]), backbone)
    return (ids, whole) if ids and ids[0] else (None, False)


def _parse_units(text: str, backbone: Backbone) -> Ids | None:
    try:
        return backbone.parse_units(text)
    except OmnikitError:
        return None


def _segment(item: str | Ids) -> Segment:
    return Segment(text=item, train=True) if isinstance(item, str) else Segment(units=item, train=True)


def _units(ids: Ids | None, backbone: Backbone) -> Units | None:
    if ids is None:
        return None
    codes = torch.tensor(ids).unsqueeze(0)  # [1, K, T]
    lengths = torch.tensor([codes.shape[-1]])
    rate = Fraction(backbone.unit_rate)
    return Units(codes, lengths, backbone.codebooks, rate, backbone.vocab_id, backbone.layout)


def _style(labels: Mapping[str, str]) -> Style:
    return Style(labels=(dict(labels),), source="model") if labels else Style()
