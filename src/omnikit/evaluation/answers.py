"""Judging whole spoken answers: a spoken question and a picture go in, speech comes out, and is heard again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnikit.evaluation.figures import Check, Figure, at_least, shares
from omnikit.evaluation.language import UNPARSED, judged, transcripts
from omnikit.evaluation.material import Record, chosen, same_words, speech_segment, spoken, units_of, waves_of, write
from omnikit.metrics.rates import words
from omnikit.slots.backbone import Segment
from omnikit.system import System
from omnikit.types import SpokenTurn

PART = "spoken answers"
FILES = {
    "dialogue.test": "known voices",
    "dialogue.test_voice": "unseen voices",
    "dialogue.test_scene": "unseen color-shape pairs",
}


@dataclass(frozen=True)
class Answer:
    """One whole exchange: the question was heard, the answer and its style are right, the speech says the answer."""

    heard: bool
    answer: bool
    style: bool
    speech: bool
    unparsed: bool

    @property
    def all_right(self) -> bool:
        """Whether nothing went wrong anywhere."""
        return self.heard and self.answer and self.style and self.speech


def judge_answers(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """The first exchange of dialogues: each step by itself, and the share in which all four are right."""
    figures = []
    for name, what in FILES.items():
        records = chosen(corpus, name, num_items, seed)
        answers = judged_answers(system, corpus, records, seed)
        kinds = [{"kind": record["scene"]["turns"][0]["kind"]} for record in records]
        checks = [
            Check("heard", f"question heard, {what}", f"{name}: the question as written down, ≤ 1 word in 10 wrong"),
            Check("answer", f"answer right, {what}", f"{name}: the words of the record's answer"),
            Check("style", f"style right, {what}", f"{name}: emotion, speed and pitch all right"),
            Check(
                "speech", f"speech says it, {what}", f"{name}: heard by the same model, ≤ 1 word in 10 unlike its text"
            ),
            Check("all_right", f"all four right, {what}", f"{name}: the four above, together", at_least(75.0)),
            Check("unparsed", f"replies unparsed, {what}", f"{name}: {UNPARSED}"),
        ]
        figures += shares(PART, answers, kinds, checks, ("kind",))
    return figures


def judged_answers(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[Answer]:
    """Ask the first question of every record aloud, with its picture, and judge what comes back."""
    turns = spoken_replies(system, corpus, records, seed)
    waves = {index: wave for index, turn in enumerate(turns) if len(wave := _voiced(system, turn, seed))}
    texts = transcripts(system, units_of(system, list(waves.values()))) if waves else []
    understood = dict(zip(waves, texts, strict=True))
    answers = []
    for index, (turn, record) in enumerate(zip(turns, records, strict=True)):
        right = judged(turn, record)
        answers.append(
            Answer(
                heard=same_words(words(record["messages"][0]["text"]), words(turn.user_text or "")),
                answer=right.exact,
                style=right.style,
                speech=same_words(words(turn.text), words(understood.get(index, ""))),
                unparsed=right.unparsed,
            )
        )
    return answers


def spoken_replies(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[SpokenTurn]:
    """Answers to the spoken first question about each record's picture; the same as `System.reply` one by one."""
    messages = [record["messages"][0] for record in records]
    heard = units_of(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    users = [
        [Segment(frames=system.see(corpus / message["image"]["path"])), speech_segment(units)]
        for message, units in zip(messages, heard, strict=True)
    ]
    return write(system, "dialogue", users, seed)


def _voiced(system: System, turn: SpokenTurn, seed: int) -> np.ndarray:
    """The reply's speech [S] in the style that the model decided; empty where it wrote no units."""
    if turn.units is None:
        return np.zeros(0, dtype=np.float32)
    factors = system.part("style").factors
    decided: Mapping[str, str] = turn.style.labels[0] if turn.style.labels else {}
    labels = {name: value for name, value in decided.items() if value in factors.get(name, ())}
    return spoken(system, turn.units, labels, seed)
