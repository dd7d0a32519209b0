"""Judging what needs picture and speech at once: the style of an answer that only the picture decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omnikit.data.scenes import COLORS
from omnikit.evaluation.figures import Check, Figure, at_least, shares, unmeasured
from omnikit.evaluation.material import Record, by_voice, chosen, listened, waves_of, write
from omnikit.metrics.rates import words
from omnikit.slots.backbone import Segment
from omnikit.system import System
from omnikit.types import SpokenTurn

PART = "jointness"
NAME = "emotion right where only the picture tells"
FILE = "dialogue.test"


@dataclass(frozen=True)
class Seen:
    """One spoken question: the answer's emotion is right with its picture; it is that, too, with another picture."""

    right: bool
    blind: bool


def judge_jointness(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Spoken questions that name no color, whose answer's emotion follows from the color of what they ask about.

    Speech alone cannot tell it: the control shows every question with the next one's picture.
    """
    records = [record for record in chosen(corpus, FILE, num_items, seed) if not names_color(record)]
    if len(records) < 2:
        return [unmeasured(PART, NAME, f"{FILE}: fewer than two questions that name no color among {num_items}")]
    heard = listened(system, waves_of(system, corpus, [record["messages"][0]["audio"] for record in records]))
    pictures = [system.see(corpus / record["messages"][0]["image"]["path"]) for record in records]
    rows = []
    for shown in (pictures, [*pictures[1:], pictures[0]]):
        users = [[Segment(frames=picture), *speech] for picture, speech in zip(shown, heard, strict=True)]
        rows.append(_right(write(system, "dialogue", users, seed), records))
    seen = [Seen(right, blind) for right, blind in zip(*rows, strict=True)]
    kinds = [{"kind": record["scene"]["turns"][0]["kind"]} for record in records]
    what = f"{FILE}: spoken questions that name no color; the record's emotion"
    checks = [
        Check("right", NAME, what, at_least(90.0)),
        Check("blind", f"{NAME}, other pictures", f"control: {what}, each shown the next one's picture"),
    ]
    return shares(PART, seen, kinds, checks, ("kind",), by_voice(records))


def names_color(record: Record) -> bool:
    """Whether the first question of a record says a color."""
    return bool(set(words(record["messages"][0]["text"])) & set(COLORS))


def _right(turns: Sequence[SpokenTurn], records: Sequence[Record]) -> list[bool]:
    said = [turn.style.labels[0].get("emotion") if turn.style.labels else None for turn in turns]
    return [one == record["messages"][1]["style"]["emotion"] for one, record in zip(said, records, strict=True)]
