"""Spoken questions answered by a cascade of the same parts: recording → text → written answer and style → units.

What a system that hears and speaks by itself is to be held against (the baseline of Chen et al. 2024, EMOVA, arXiv
2409.18042, table 3): each step knows only the text that the one before it wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omnikit.errors import unknown_name
from omnikit.evaluation.language import transcripts
from omnikit.evaluation.material import Record, waves_of, write
from omnikit.slots.backbone import Segment
from omnikit.system import System
from omnikit.types import SpokenTurn

END_TO_END, CASCADE = WAYS = ("end_to_end", "cascade")
"""How a spoken question is answered: by one reply to what was heard, or step by step through text."""


def check_way(way: str) -> None:
    """Raise `UnknownName` for a way to answer that there is not."""
    if way not in WAYS:
        raise unknown_name("way to answer", way, WAYS)


def cascaded_replies(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[SpokenTurn]:
    """Answers to the spoken first question about each record's picture, through what was recognised of it.

    Text and style are the model's answer to the recognised text, typed; units are those that it writes for that text.
    """
    messages = [record["messages"][0] for record in records]
    heard = transcripts(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    typed = [
        [Segment(frames=system.see(corpus / message["image"]["path"])), Segment(text=text)]
        for message, text in zip(messages, heard, strict=True)
    ]
    answers = write(system, "dialogue", typed, seed)
    said = write(system, "tts", [[Segment(text=answer.text)] for answer in answers], seed)
    rows = zip(answers, heard, said, strict=True)
    return [replace(answer, user_text=text, units=turn.units if answer.text else None) for answer, text, turn in rows]
