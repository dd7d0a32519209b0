"""`format/json`: a reply is one JSON object whose keys follow the chain of modality."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch

from omnikit.contracts import Contract
from omnikit.errors import OmnikitError, unknown_name
from omnikit.slots.backbone import Backbone, Segment
from omnikit.slots.format import Format
from omnikit.types import SpokenTurn, Style, Units

TASKS = ("caption", "asr", "tts", "dialogue")
FACTORS = ("emotion", "pitch", "speed")
HEARD, REPLY, UNITS = "heard", "reply", "units"
_MARK = re.compile(r"<\|[^<>|]*\|>")
_UNITS_TAIL = re.compile(rf'"{UNITS}"\s*:\s*"((?:<\|[^<>|]*\|>)*)')


class JsonFormat(Format):
    """Replies as `{"heard": …, "reply": …, <style factors>, "units": …}`; other tasks answer in text or units.

    Args:
        factors: the style factors that a reply names, in the order in which they are written.

    What the user said is written only where it was heard, style only where the turn has labels, units only where it is
    spoken; each key is conditioned on all before it. Questions are marked by one control token a task, in no words.
    Ref: the chain heard text → reply text → style → units of Chen et al. 2024 (EMOVA, arXiv 2409.18042, section 3.3).

    >>> JsonFormat(factors=["emotion"]).tasks
    ('caption', 'asr', 'tts', 'dialogue')
    """

    tasks = TASKS

    def __init__(self, factors: Sequence[str] = FACTORS) -> None:
        super().__init__()
        self.factors = tuple(factors)
        taken = {HEARD, REPLY, UNITS}
        if len(set(self.factors)) != len(self.factors) or taken & set(self.factors):
            raise OmnikitError(f"format/json: factors {list(self.factors)} must differ, also from {sorted(taken)}.")

    @classmethod
    def contract(cls, factors: Sequence[str]) -> Contract:
        return Contract(causal=True, lookahead_ms=0.0)

    def prompt(
        self, task: str, user: Sequence[Segment], history: Sequence[tuple[Sequence[Segment], SpokenTurn]] = ()
    ) -> list[Segment]:
        """Earlier turns (the user's segments and the reply's text), the user's segments, and the mark of the task."""
        self._check_task(task)
        segments = [Segment(control="start")]
        for earlier, reply in history:
            segments += [*_user_turn(task, earlier), Segment(text=reply.text), Segment(control="end")]
        return [*segments, *_user_turn(task, user)]

    def target(self, task: str, turn: SpokenTurn, backbone: Backbone) -> list[Segment]:
        """The answer as trained segments. Raises `OmnikitError` when the task needs what the turn lacks."""
        self._check_task(task)
        end = Segment(control="end", train=True)
        if task in ("caption", "asr"):
            return [Segment(text=turn.text, train=True), end]
        units = None if turn.units is None else _ids(turn.units)
        if task == "tts":
            if units is None:
                raise OmnikitError("format/json: a tts target needs the units of the turn.")
            return [Segment(units=units, train=True), end]
        head: dict[str, str] = {} if turn.user_text is None else {HEARD: turn.user_text}
        head[REPLY] = turn.text
        labels = turn.style.labels[0] if turn.style.labels else {}
        if labels:
            missing = [factor for factor in self.factors if factor not in labels]
            if missing:
                raise OmnikitError(
                    f"format/json: the style of a turn must name {', '.join(self.factors)}; it lacks {missing[0]}."
                )
            head |= {factor: labels[factor] for factor in self.factors}
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
        if units is None:
            return [Segment(text=text, train=True), end]
        opening = Segment(text=f'{text[:-1]},"{UNITS}":"', train=True)
        return [opening, Segment(units=units, train=True), Segment(text='"}', train=True), end]

    def parse(self, task: str, raw: str, backbone: Backbone) -> SpokenTurn:
        """The turn that `raw` spells. Never raises on `raw`; what can be read of a malformed answer is kept."""
        self._check_task(task)
        if task in ("caption", "asr"):
            text = _MARK.sub("", raw)
            return SpokenTurn(text=text.strip(), raw=raw, parse_ok=text == raw and bool(text.strip()))
        if task == "tts":
            units, whole = _read_units(raw, backbone)
            return SpokenTurn(text="", units=units, raw=raw, parse_ok=whole)
        found, ok = _read_object(raw, (HEARD, REPLY, *self.factors, UNITS))
        labels = {factor: found[factor] for factor in self.factors if factor in found}
        units, whole = _read_units(found[UNITS], backbone) if UNITS in found else (None, True)
        complete = REPLY in found and len(labels) in (0, len(self.factors))
        return SpokenTurn(
            text=found.get(REPLY, ""),
            user_text=found.get(HEARD),
            style=Style(labels=(labels,), source="model") if labels else Style(),
            units=units,
            raw=raw,
            parse_ok=ok and whole and complete,
        )

    def _check_task(self, task: str) -> None:
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)


def _user_turn(task: str, user: Sequence[Segment]) -> list[Segment]:
    """What the user shows, says or types, each kind between its marks, then the task."""
    segments = [Segment(control="user")]
    for segment in user:
        if segment.frames is not None:
            segments += [Segment(control="image"), segment, Segment(control="/image")]
        elif segment.units is not None:
            segments += [Segment(control="speech"), segment, Segment(control="/speech")]
        else:
            segments.append(segment)
    return [*segments, Segment(control=task), Segment(control="reply")]


def _ids(units: Units) -> tuple[tuple[int, ...], ...]:
    length = int(units.lengths[0])
    return tuple(tuple(row[:length].tolist()) for row in units.codes[0])  # [1, K, T] → [K][T]


def _read_units(text: str, backbone: Backbone) -> tuple[Units | None, bool]:
    """The units that `text` spells, and whether it spells nothing else; the longest readable start where it does."""
    marks = _MARK.findall(text)
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
    if not ids or not ids[0]:
        return None, False
    codes = torch.tensor(ids).unsqueeze(0)  # [1, K, T]
    lengths = torch.tensor([codes.shape[-1]])
    return (
        Units(codes, lengths, backbone.codebooks, Fraction(backbone.unit_rate), backbone.vocab_id, backbone.layout),
        whole,
    )


def _parse_units(text: str, backbone: Backbone) -> tuple[tuple[int, ...], ...] | None:
    try:
        return backbone.parse_units(text)
    except OmnikitError:
        return None


def _read_object(raw: str, keys: Sequence[str]) -> tuple[dict[str, str], bool]:
    """The string values of `keys`, and whether `raw` is a JSON object with none but those, in their order."""
    try:
        value: Any = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, Mapping):
        found = {key: value[key] for key in keys if isinstance(value.get(key), str)}
        return found, list(value) == list(found)
    found = {}
    for key in keys:
        match = re.search(rf'"{re.escape(key)}"\s*:\s*("(?:[^"\\]|\\.)*")', raw)
        try:
            if match:
                found[key] = json.loads(match[1])
        except ValueError:
            continue
    if UNITS in keys and UNITS not in found:
        tail = _UNITS_TAIL.search(raw)
        if tail and tail[1]:
            found[UNITS] = tail[1]
    return found, False
