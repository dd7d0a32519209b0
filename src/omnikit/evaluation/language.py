"""Judging the language part by itself: words heard, written questions about pictures, units written for texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnikit.evaluation.figures import (
    Check,
    Figure,
    Names,
    at_least,
    at_most,
    percent,
    pick,
    shares,
    summed,
    unmeasured,
)
from omnikit.evaluation.lengths import length_figures
from omnikit.evaluation.material import (
    Record,
    by_text,
    by_voice,
    chosen,
    listened,
    phones_of,
    read_phones,
    speech_segment,
    spoken,
    units_of,
    waves_of,
    why_no_phones,
    write,
)
from omnikit.metrics.rates import edit_distance, share, words
from omnikit.metrics.text_errors import NORMALISERS, text_errors
from omnikit.slots.backbone import Segment
from omnikit.system import System
from omnikit.types import SpokenTurn, Units

PART = "language"
STYLE_FACTORS = ("emotion", "speed", "pitch")
UNPARSED = "the reply format does not parse whole; what could be read counts in the lines above, the rest as wrong"

NO_TRANSCRIPT = "nothing was written, or more than text; the text in it counts in the lines above"
NO_UNITS = "nothing was written, or more than whole units; those in it count in the other lines"


@dataclass(frozen=True)
class Judged:
    """One answer against its record: exact words, short answer named, all style labels right, not in the format."""

    exact: bool
    names_value: bool
    style: bool
    unparsed: bool


def judge_language(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Recognition, written picture questions, text → units, and how long spoken replies are."""
    return [
        *recognition_figures(system, corpus, num_items, seed),
        *question_figures(system, corpus, num_items, seed),
        *speaking_figures(system, corpus, num_items, seed),
        *length_figures(system, corpus, num_items, seed),
    ]


def recognition_figures(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Word and character error rates of what is heard in spoken texts and spoken questions, each with its signature."""
    figures = []
    for name, what in (("speech.test", "any text"), ("dialogue.test", "questions")):
        records = chosen(corpus, name, num_items, seed)
        messages = [record["messages"][0] for record in records]
        turns = _transcribed(system, waves_of(system, corpus, [message["audio"] for message in messages]))
        heard, texts = [turn.text for turn in turns], [message["text"] for message in messages]
        for label, metric, normaliser, target in (
            ("word error rate", "wer", "words", at_most(10.0)),
            ("character error rate", "cer", "words", None),
            ("word error rate as written", "wer", "none", None),
        ):
            errors = text_errors(texts, heard, metric, NORMALISERS[normaliser])
            how = f"{name}: recording → text; {errors.signature}"
            items = by_voice(records).items(errors.errors, errors.lengths)
            figures.append(summed(PART, f"{label}, {what}", items, how, target))
        figures.append(_unparsed(turns, f"transcripts unparsed, {what}", f"{name}: {NO_TRANSCRIPT}", by_voice(records)))
    return figures


def transcripts(system: System, waves: Sequence[np.ndarray]) -> list[str]:
    """The texts that the system hears in waves at its tokenizer's rate."""
    return [turn.text for turn in _transcribed(system, waves)]


def _transcribed(system: System, waves: Sequence[np.ndarray]) -> list[SpokenTurn]:
    return write(system, "asr", listened(system, waves))


def _unparsed(turns: Sequence[SpokenTurn], name: str, how: str, names: Names) -> Figure:
    """The share of answers that do not parse whole."""
    broken = [not turn.parse_ok for turn in turns]
    return percent(PART, name, share(broken), how, items=names.items(broken))


def read_units(system: System, units: Sequence[Units]) -> list[str]:
    """The texts that the backbone reads in rows of units."""
    return [turn.text for turn in write(system, "asr", [[speech_segment(row)] for row in units])]


def judged(turn: SpokenTurn, record: Record) -> Judged:
    """Hold an answer against the first exchange of its record."""
    answer, scene = record["messages"][1], record["scene"]["turns"][0]
    said = words(turn.text)
    labels: Mapping[str, str] = turn.style.labels[0] if turn.style.labels else {}
    return Judged(
        exact=said == words(answer["text"]),
        names_value=_names(said, scene["kind"], scene["value"]),
        style=all(labels.get(factor) == answer["style"][factor] for factor in STYLE_FACTORS),
        unparsed=not turn.parse_ok,
    )


def _names(said: Sequence[str], kind: str, value: str) -> bool:
    """Whether an answer names the right short answer, whatever else it says."""
    number = {"0": "no", "1": "one", "2": "two", "3": "three", "4": "four"}
    if kind == "exists":
        return bool(said) and said[0] == value
    if value == "same":
        return "same" in said or "both" in said or " as big as " in " ".join(said)
    wanted = words(number.get(value, value))
    if kind == "bigger":  # the winner is named before "than the …", or after it where the answer turns round
        text = f" {' '.join(said)} "
        return f" the {value} is " in text.split(" than the ")[0] + " " or text.endswith(f" is the {value} ")
    return any(list(said[start : start + len(wanted)]) == wanted for start in range(len(said)))


def question_figures(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Written questions about pictures: exact answers, named values, style labels, and answers out of the format."""
    figures = []
    for name, pictures in (("vqa.test", ""), ("vqa.test_scene", ", unseen color-shape pairs")):
        records = chosen(corpus, name, num_items, seed)
        turns = write(system, "dialogue", [_written_question(system, corpus, record) for record in records])
        answers = [judged(turn, record) for turn, record in zip(turns, records, strict=True)]
        kinds = [{"kind": record["scene"]["turns"][0]["kind"]} for record in records]
        wording = "written question and picture; the words of the record's answer"
        checks = [
            Check("exact", f"answers right{pictures}", f"{name}: {wording}", at_least(90.0)),
            Check("names_value", f"short answer named{pictures}", f"{name}: the right color, place, number … is in it"),
            Check(
                "style", f"style labels right{pictures}", f"{name}: emotion, speed and pitch all right", at_least(95.0)
            ),
            Check("unparsed", f"replies unparsed{pictures}", f"{name}: {UNPARSED}", at_most(0.0)),
        ]
        figures += shares(PART, answers, kinds, checks, ("kind",), by_voice(records))
    return figures


def _written_question(system: System, corpus: Path, record: Record) -> list[Segment]:
    message = record["messages"][0]
    return [Segment(frames=system.see(corpus / message["image"]["path"])), Segment(text=message["text"])]


def speaking_figures(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Units written for texts: read back as words, and spoken by the neutral voice, as phones."""
    records = chosen(corpus, "voice.test", num_items, seed)
    messages, names = [record["messages"][0] for record in records], by_text(records)
    turns = write(system, "tts", [[Segment(text=message["text"])] for message in messages])
    made = [turn.units for turn in turns]
    figures = [
        _read_back(system, [message["text"] for message in messages], made, names),
        _unparsed(turns, "text to units, unparsed", f"voice.test: {NO_UNITS}", names),
    ]
    if "detokenizer" not in system.parts:
        return figures
    if why := why_no_phones(system):
        left_out = ("text to speech, phone error", "recording to speech, phone error")
        return [*figures, *(unmeasured(PART, name, why) for name in left_out)]
    canonical = units_of(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    labels = [phones_of(message["audio"]) for message in messages]
    for name, what, rows in (
        ("text to speech, phone error", "text", made),
        ("recording to speech, phone error", "canonical recording", canonical),
    ):
        items = names.items(*_phone_errors(system, rows, labels, seed))
        figures.append(summed(PART, name, items, f"voice.test: {what} → units → neutral voice → phones"))
    return figures


def _read_back(system: System, texts: Sequence[str], made: Sequence[Units | None], names: Names) -> Figure:
    """Word error of units that were written for texts, as the same model reads them; one without units says nothing."""
    name, target = "text to units, word error read back", at_most(20.0)
    if not system.hearing.reads_units:
        return unmeasured(PART, name, "not judged: this system hears features and reads no units", target)
    told = [index for index, units in enumerate(made) if units is not None]
    heard = dict(zip(told, read_units(system, pick(made, told)), strict=True)) if told else {}
    errors = text_errors(texts, [heard.get(index, "") for index in range(len(made))], "wer", NORMALISERS["words"])
    how = f"voice.test: text → units → text, by the same model; no units count as no words; {errors.signature}"
    return summed(PART, name, names.items(errors.errors, errors.lengths), how, target)


def _phone_errors(
    system: System, rows: Sequence[Units | None], labels: Sequence[list[int]], seed: int
) -> tuple[list[int], list[int]]:
    """Phone errors and labels of each of `rows`, spoken neutrally; a row without units counts as nothing said."""
    waves = {index: spoken(system, units, {}, seed) for index, units in enumerate(rows) if units is not None}
    read = dict(zip(waves, read_phones(system, list(waves.values())), strict=True)) if waves else {}
    errors = [edit_distance(own, read.get(index, [])) for index, own in enumerate(labels)]
    return errors, [len(own) for own in labels]
