"""A demonstration: questions about pictures answered aloud, one reply in every emotion, and the figures of both.

Nothing is chosen by how it came out: the first questions that are drawn are the ones that are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from omnikit.data.espeak import Espeak
from omnikit.data.prosody import StyleRule, style_rule
from omnikit.errors import MediaError, OmnikitError
from omnikit.metrics.prosody import semitones
from omnikit.metrics.rates import Rate, edit_distance, error_rate, ratio, share, words
from omnikit.serving.measure import Sound, read_back, read_sound, sound_of
from omnikit.serving.piece import Piece, Record
from omnikit.system import Reply, System
from omnikit.types import Audio, Units

ABOVE_NATURAL = 0.10
"""How much worse than recordings spoken replies may be read back."""


@dataclass(frozen=True)
class Asked:
    """A question as the corpus knows it: picture, recording, words, and the right answer with its style."""

    image: Path
    audio: Path
    voice: str
    question: str
    answer: str
    value: str
    style: Mapping[str, str]

    @classmethod
    def from_record(cls, folder: Path, record: Record) -> Asked:
        """The first exchange of a dialogue record."""
        user, assistant = record["messages"][:2]
        return cls(
            image=folder / user["image"]["path"],
            audio=folder / user["audio"]["path"],
            voice=user["audio"]["voice"],
            question=user["text"],
            answer=assistant["text"],
            value=record["scene"]["turns"][0]["value"],
            style=assistant["style"],
        )


@dataclass(frozen=True)
class Answer:
    """What became of a question: the reply, its sound (None when no units were written), and both unit sequences.

    `colours` hold what each unit stands for inside the tokenizer, [T, d]; `phones` what its recogniser reads from the
    reply, `phones_wanted` what the reply's text asks for, `decided` the style factors that the model itself wrote.
    """

    asked: Asked
    question: Sound
    question_units: Units
    question_colours: torch.Tensor
    reply: Reply
    sound: Sound | None
    reply_colours: torch.Tensor | None
    phones: tuple[str, ...]
    phones_wanted: tuple[str, ...]
    decided: Mapping[str, str]

    @property
    def word_errors(self) -> tuple[int, int]:
        """Wrong words in what was heard, and words that were said."""
        said = words(self.asked.question)
        return edit_distance(said, words(self.reply.turn.user_text or "")), len(said)

    @property
    def right(self) -> bool:
        """Whether the answer says the right thing: the same words as the record's answer."""
        return words(self.reply.turn.text) == words(self.asked.answer)

    @property
    def phone_errors(self) -> tuple[int, int]:
        """Wrong phones in the spoken reply as its own recogniser reads it, and phones of the reply's text."""
        return edit_distance(self.phones_wanted, self.phones), len(self.phones_wanted)

    def style_right(self) -> bool:
        """Whether every factor that the record names was decided as there."""
        return all(self.decided.get(factor) == value for factor, value in self.asked.style.items())


def answer(system: System, asked: Asked, espeak: Espeak, seed: int) -> Answer:
    """Let the system answer a question aloud, and measure the reply."""
    units = system.hear(asked.audio)
    reply = system.reply(image=asked.image, audio=asked.audio, seed=seed)
    tokenizer = system.part("tokenizer")
    sound, phones, colours = None, (), None
    if reply.audio is not None:
        sound, phones = sound_of(reply.audio), tuple(_read(system, reply.audio))
        assert reply.turn.units is not None
        colours = tokenizer.embed(reply.turn.units).features[0]
    return Answer(
        asked=asked,
        question=read_sound(asked.audio),
        question_units=units,
        question_colours=tokenizer.embed(units).features[0],
        reply=reply,
        sound=sound,
        reply_colours=colours,
        phones=phones,
        phones_wanted=_pronounced(espeak, reply.turn.text),
        decided=decided_by_model(system, reply),
    )


def decided_by_model(system: System, reply: Reply) -> dict[str, str]:
    """The style factors that the model itself wrote into its reply."""
    written = system.part("format").parse("dialogue", reply.turn.raw, system.part("backbone")).style
    return dict(written.labels[0]) if written.labels else {}


def _read(system: System, audio: Audio) -> list[str]:
    try:
        return read_back(system.part("tokenizer"), audio)
    except MediaError:  # a reply that is silent or too short to be read
        return []


def _pronounced(espeak: Espeak, text: str) -> tuple[str, ...]:
    try:
        return espeak.phonemise(text)
    except OmnikitError:  # the model wrote something that is no English
        return ()


@dataclass(frozen=True)
class Take:
    """The same units spoken in one style, what the rule asks of it against the speaker's neutral, and what came."""

    labels: Mapping[str, str]
    sound: Sound
    rule: StyleRule
    duration_factor: float
    shift_semitones: float
    level_factor: float
    phones: tuple[str, ...]

    @property
    def name(self) -> str:
        """`sad, female`."""
        return ", ".join(self.labels[factor] for factor in ("emotion", "gender") if factor in self.labels)


def takes(system: System, units: Units, seed: int) -> Iterator[Take]:
    """The units in every emotion of every gender, the speaker's neutral first."""
    factors = system.part("style").factors
    for gender in factors.get("gender", ("",)):
        neutral: Sound | None = None
        for emotion in factors.get("emotion", ("neutral",)):
            labels = {name: value for name, value in (("gender", gender), ("emotion", emotion)) if name in factors}
            audio = system.speak(units, labels, seed=seed)
            sound = sound_of(audio)
            neutral = neutral or sound
            yield Take(
                labels=labels,
                sound=sound,
                rule=style_rule({"emotion": emotion}),
                duration_factor=sound.duration_s / neutral.duration_s,
                shift_semitones=semitones(sound.median_f0_hz, neutral.median_f0_hz),
                level_factor=10 ** ((sound.level_db - neutral.level_db) / 20),
                phones=tuple(_read(system, audio)),
            )


@dataclass(frozen=True)
class Figure:
    """One number: what it says, its value as text, the aim where there is one, and whether it is reached."""

    name: str
    value: str
    aim: str = ""
    reached: bool | None = None
    note: str = ""


def rate_figure(name: str, rate: Rate, aim: float | None, *, at_least: bool = False, note: str = "") -> Figure:
    """A rate in per cent with its interval, held against `aim`; without items there is nothing to hold."""
    if math.isnan(rate.value):
        return Figure(name, "nothing to measure", "" if aim is None else _aim(aim, at_least), None, note)
    reached = None if aim is None else (rate.value >= aim if at_least else rate.value <= aim)
    return Figure(name, str(rate), "" if aim is None else _aim(aim, at_least), reached, note)


def _aim(aim: float, at_least: bool) -> str:
    return "100 %" if at_least and aim == 1 else f"{'≥' if at_least else '≤'} {100 * aim:.3g} %"


def figures_of_answers(answers: Sequence[Answer], natural: Rate) -> list[Figure]:
    """How well the questions were heard, understood, answered and spoken.

    `natural` is the phone error of the tokenizer on recordings, against which spoken replies are held.
    """
    heard, spoken = [item.word_errors for item in answers], [item for item in answers if item.phones_wanted]
    wrong = [item.phone_errors for item in spoken]
    seconds = [sum(item.reply.timings.values()) for item in answers]
    made = [(item.reply.timings["speak"], item.sound.duration_s) for item in answers if item.sound]
    figures = [
        rate_figure(
            "Words misheard in the questions",
            ratio([e for e, _ in heard], [n for _, n in heard]),
            0.10,
            note="held-out voices and texts",
        ),
        rate_figure(
            "Answers that are right",
            share([item.right for item in answers]),
            0.90,
            at_least=True,
            note="word for word the record's answer",
        ),
        rate_figure(
            "Styles that are right",
            share([item.style_right() for item in answers]),
            0.95,
            at_least=True,
            note="emotion, pitch and speed together",
        ),
        rate_figure(
            "Replies that are well-formed", share([item.reply.turn.parse_ok for item in answers]), 1.0, at_least=True
        ),
        rate_figure(
            "Phones misread in the spoken replies",
            ratio([e for e, _ in wrong], [n for _, n in wrong]),
            natural.value + ABOVE_NATURAL,
            note="against the reply's own text; aim: recordings + 10 points",
        ),
        Figure(
            "Time from question to answer", f"{sum(seconds) / len(seconds):.2f} s" if seconds else "nothing to measure"
        ),
    ]
    if made:
        factor = sum(took for took, _ in made) / sum(lasts for _, lasts in made)
        figures.append(Figure("Time to speak one second", f"{factor:.2f} s", "≤ 1 s", factor <= 1, "detokenizer alone"))
    return figures


def figures_of_takes(found: Sequence[Take], wanted: Sequence[str], natural: Rate) -> list[Figure]:
    """How far the emotions are from the rule that the training data follow, and whether the words survive."""
    moved = [take for take in found if take.labels.get("emotion") != "neutral"]
    if not moved:
        return []
    longest = max(abs(take.duration_factor / take.rule.duration_factor - 1) for take in moved)
    off = [abs(take.shift_semitones - take.rule.semitones) for take in moved]
    furthest = math.nan if any(map(math.isnan, off)) else max(off)
    figures = [
        Figure(
            "Duration against the style rule, worst emotion", f"{100 * longest:.0f} % off", "≤ 10 %", longest <= 0.1
        ),
        Figure(
            "F0 against the style rule, worst emotion",
            "no voiced sound" if math.isnan(furthest) else f"{furthest:.1f} semitones off",
            "≤ 3 semitones",
            None if math.isnan(furthest) else furthest <= 3,
        ),
    ]
    if wanted:
        rate = error_rate([wanted] * len(found), [take.phones for take in found])
        aim = natural.value + ABOVE_NATURAL
        figures.append(rate_figure("Phones misread over all emotions", rate, aim, note="same units, other style"))
    return figures


def units_to_style(system: System, answers: Sequence[Answer], piece: Piece) -> tuple[Units, str]:
    """Units of the first reply that was spoken and its text; else those of the first record's own answer."""
    for item in answers:
        if item.reply.turn.units is not None and item.sound is not None:
            return item.reply.turn.units, item.reply.turn.text
    reference: Mapping[str, Any] = piece.questions[0]["messages"][1]
    return system.hear(piece.folder / reference["audio"]["path"]), reference["text"]
