"""Style factors, and the one rule that turns style labels into prosody.

A style names an emotion, a speed and a pitch; the gender belongs to the voice. The rule multiplies the rates and adds
the pitch shifts of the three tables below, so every composition has a stated effect: see `style_rule`.
The speech is synthetic: the emotions are conventions of prosody, not human feelings.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from omnikit.errors import unknown_name

FACTORS: dict[str, tuple[str, ...]] = {
    "gender": ("female", "male"),
    "emotion": ("neutral", "happy", "sad", "angry"),
    "speed": ("slow", "normal", "fast"),
    "pitch": ("low", "normal", "high"),
}
NEUTRAL: dict[str, str] = {"emotion": "neutral", "speed": "normal", "pitch": "normal"}
BASE_RATE_WPM = 140.0

HELD_OUT_STYLES: frozenset[tuple[str, str, str, str]] = frozenset(
    {
        ("female", "happy", "fast", "low"),
        ("female", "sad", "slow", "high"),
        ("female", "angry", "slow", "normal"),
        ("female", "neutral", "fast", "high"),
        ("male", "happy", "slow", "high"),
        ("male", "sad", "fast", "normal"),
        ("male", "angry", "fast", "low"),
        ("male", "neutral", "slow", "low"),
    }
)
"""Compositions (gender, emotion, speed, pitch) that no audio of a training or validation file is rendered in."""


@dataclass(frozen=True)
class Prosody:
    """How to speak: shift of F0 in semitones, factor on its range, rate in words a minute, factor on the level."""

    semitones: float = 0.0
    range_factor: float = 1.0
    rate_wpm: float = BASE_RATE_WPM
    gain: float = 1.0


@dataclass(frozen=True)
class StyleRule:
    """What a style must do against the neutral style of the same voice: factors, and a shift of F0 in semitones."""

    duration_factor: float
    semitones: float
    range_factor: float
    gain: float


EMOTION_RULES: dict[str, StyleRule] = {
    "neutral": StyleRule(1.0, 0.0, 1.0, 1.0),
    "happy": StyleRule(1 / 1.05, 2.5, 1.4, 1.15),
    "sad": StyleRule(1 / 0.85, -2.0, 0.5, 0.65),
    "angry": StyleRule(1 / 1.08, 1.0, 1.2, 1.5),
}
SPEED_FACTORS: dict[str, float] = {"slow": 0.8, "normal": 1.0, "fast": 1.25}
PITCH_SEMITONES: dict[str, float] = {"low": -2.5, "normal": 0.0, "high": 2.5}


def check_style(style: Mapping[str, str]) -> None:
    """Raise UnknownName when a factor or a value of `style` does not exist."""
    for factor, value in style.items():
        if factor not in FACTORS:
            raise unknown_name("style factor", factor, FACTORS)
        if value not in FACTORS[factor]:
            raise unknown_name(f"value of the style factor '{factor}'", value, FACTORS[factor])


def style_rule(style: Mapping[str, str]) -> StyleRule:
    """The stated effect of a style: duration factor, F0 shift (semitones), F0 range factor, level factor.

    Missing factors count as neutral; `gender` is accepted and has no effect. Raises UnknownName on anything else.
    """
    check_style(style)
    full = {**NEUTRAL, **style}
    emotion = EMOTION_RULES[full["emotion"]]
    return StyleRule(
        duration_factor=emotion.duration_factor / SPEED_FACTORS[full["speed"]],
        semitones=emotion.semitones + PITCH_SEMITONES[full["pitch"]],
        range_factor=emotion.range_factor,
        gain=emotion.gain,
    )


def prosody_of(style: Mapping[str, str]) -> Prosody:
    """The prosody that a style asks of any voice."""
    rule = style_rule(style)
    return Prosody(rule.semitones, rule.range_factor, BASE_RATE_WPM / rule.duration_factor, rule.gain)


def compositions(gender: str, held_out: bool = False) -> tuple[dict[str, str], ...]:
    """All styles (emotion x speed x pitch) of a gender that training may hear, or those that are held out."""
    check_style({"gender": gender})
    triples = itertools.product(FACTORS["emotion"], FACTORS["speed"], FACTORS["pitch"])
    return tuple(
        {"gender": gender, "emotion": emotion, "speed": speed, "pitch": pitch}
        for emotion, speed, pitch in triples
        if ((gender, emotion, speed, pitch) in HELD_OUT_STYLES) == held_out
    )
