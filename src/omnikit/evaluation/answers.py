"""Judging whole spoken answers: a spoken question and a picture go in, speech comes out, and is heard again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnikit.evaluation.cascade import CASCADE, END_TO_END, cascaded_replies
from omnikit.evaluation.figures import Check, Figure, at_least, shares
from omnikit.evaluation.language import UNPARSED, judged, transcripts
from omnikit.evaluation.material import Record, by_voice, chosen, listened, same_words, spoken, waves_of, write
from omnikit.metrics.rates import words
from omnikit.slots.backbone import Segment
from omnikit.system import System
from omnikit.types import SpokenTurn

PART = "spoken answers"
RIGHT = "≤ 1 word in 10 unlike the record's"
FILES = {
    "dialogue.test": "known voices",
    "dialogue.test_voice": "unseen voices",
    "dialogue.test_scene": "unseen color-shape pairs",
}


@dataclass(frozen=True)
class Answer:
    """One whole exchange: the question was heard, the answer and its style are right, the speech says the answer.

    The same answer three ways: said aloud and heard again, written to the spoken question, written to the typed one.
    `tone` says whether the user's way of speaking was named right; None where the format does not name it.
    """

    heard: bool
    answer: bool
    style: bool
    speech: bool
    unparsed: bool
    aloud: bool
    written: bool
    typed: bool
    tone: bool | None

    @property
    def all_right(self) -> bool:
        """Whether nothing went wrong anywhere."""
        return self.heard and self.answer and self.style and self.speech


def judge_answers(system: System, corpus: Path, num_items: int, seed: int, way: str = END_TO_END) -> list[Figure]:
    """The first exchange of dialogues: each step by itself, and the share in which all four are right.

    `way` is one of `cascade.WAYS`.
    """
    figures = []
    for name, what in FILES.items():
        records = chosen(corpus, name, num_items, seed)
        answers = judged_answers(system, corpus, records, seed, way)
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
            Check("aloud", f"speech in, speech out, {what}", f"{name}: the answer as the speech is heard; {RIGHT}"),
            Check("written", f"speech in, text out, {what}", f"{name}: the answer as written; {RIGHT}"),
            Check("typed", f"text in, text out, {what}", f"{name}: the question typed; the answer as written; {RIGHT}"),
        ]
        if any(answer.tone is not None for answer in answers):
            checks.append(Check("tone", f"user's tone named, {what}", f"{name}: every label that the reply gives it"))
        figures += shares(PART, answers, kinds, checks, ("kind",), by_voice(records))
    return figures


def judged_answers(
    system: System, corpus: Path, records: Sequence[Record], seed: int, way: str = END_TO_END
) -> list[Answer]:
    """Ask the first question of every record aloud, with its picture, and judge what comes back."""
    replies = cascaded_replies if way == CASCADE else spoken_replies
    turns = replies(system, corpus, records, seed)
    waves = {index: wave for index, turn in enumerate(turns) if len(wave := _voiced(system, turn, seed))}
    texts = transcripts(system, list(waves.values())) if waves else []
    typed = write(system, "dialogue", [_asked(system, corpus, record, None) for record in records], seed)
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
                aloud=_says(understood.get(index, ""), record),
                written=_says(turn.text, record),
                typed=_says(typed[index].text, record),
                tone=names_tone(turn, record),
            )
        )
    return answers


def spoken_replies(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[SpokenTurn]:
    """Answers to the spoken first question about each record's picture; the same as `System.reply` one by one."""
    messages = [record["messages"][0] for record in records]
    heard = listened(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    users = [_asked(system, corpus, record, own) for record, own in zip(records, heard, strict=True)]
    return write(system, "dialogue", users, seed)


def _asked(system: System, corpus: Path, record: Record, heard: Sequence[Segment] | None) -> list[Segment]:
    """The first question of a record about its picture: as it was heard, or typed."""
    message = record["messages"][0]
    picture = Segment(frames=system.see(corpus / message["image"]["path"]))
    return [picture, *heard] if heard is not None else [picture, Segment(text=message["text"])]


def _says(text: str, record: Record) -> bool:
    """Whether a text is the record's answer, a word in ten aside."""
    return same_words(words(record["messages"][1]["text"]), words(text))


def names_tone(turn: SpokenTurn, record: Record) -> bool | None:
    """Whether every label that a reply gives the user's way of speaking is right; None where it gives none."""
    labels = turn.user_style.labels[0] if turn.user_style.labels else {}
    true = record["messages"][0].get("style", {})
    return all(true.get(factor) == value for factor, value in labels.items()) if labels else None


def _voiced(system: System, turn: SpokenTurn, seed: int) -> np.ndarray:
    """The reply's speech [S] in the style that the model decided; empty where it wrote no units."""
    if turn.units is None:
        return np.zeros(0, dtype=np.float32)
    factors = system.part("style").factors
    decided: Mapping[str, str] = turn.style.labels[0] if turn.style.labels else {}
    labels = {name: value for name, value in decided.items() if value in factors.get(name, ())}
    return spoken(system, turn.units, labels, seed)
