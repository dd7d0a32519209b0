"""Descriptions of styles in words, made by rules: the same labels in many wordings.

A factor is left unsaid only where it has its default, so that a description says everything that its labels say. Some
frames and some word forms are kept for tests: no training text has them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from omnikit.errors import unknown_name

DEFAULTS = {"gender": "female", "emotion": "neutral", "speed": "normal", "pitch": "normal"}
_UNSAID_SHARE = 0.7
"""How often a default is left unsaid."""

_Words = dict[str, dict[str, str]]

_PEOPLE = {
    "female": "woman|female speaker|lady|girl|female voice|mother|female person",
    "male": "man|male speaker|gentleman|boy|male voice|father|male person",
}
_ADJECTIVES: _Words = {
    "emotion": {
        "neutral": "neutral|calm|matter-of-fact|unemotional|even|composed",
        "happy": "happy|cheerful|joyful|delighted|merry|glad|joyous",
        "sad": "sad|sorrowful|gloomy|unhappy|mournful|tearful|sad-sounding",
        "angry": "angry|furious|enraged|irate|cross|raging|angry-sounding",
    },
    "speed": {
        "normal": "steady|medium-paced|moderate",
        "slow": "slow|unhurried|sluggish|slow-speaking|slow-paced|dragging",
        "fast": "fast|quick|rapid|hurried|fast-speaking|fast-paced|speedy",
    },
    "pitch": {
        "normal": "medium-pitched|mid-pitched",
        "low": "low-pitched|deep-voiced|low-voiced",
        "high": "high-pitched|shrill|high-voiced|shrill-voiced",
    },
}
_PHRASES: _Words = {
    "emotion": {
        "neutral": "in a neutral tone|without emotion|calmly|neutrally|without any feeling|in a calm mood",
        "happy": "in a happy tone|happily|full of joy|with a smile|with happiness|in a cheerful mood|joyfully|gladly",
        "sad": "in a sad tone|sadly|full of sorrow|close to tears|with sadness|in a gloomy mood|mournfully|sorrowfully",
        "angry": "in an angry tone|angrily|full of anger|in a rage|with anger|in a furious mood|crossly|with fury",
    },
    "speed": {
        "normal": "at normal speed|at an ordinary pace|at a steady pace",
        "slow": "slowly|at low speed|at a slow pace|taking time|with slow words|very slowly|without hurry"
        "|at a slow rate",
        "fast": "quickly|at high speed|at a fast pace|in a hurry|with fast words|very fast|hurriedly|at a fast rate",
    },
    "pitch": {
        "normal": "at normal pitch|in a medium voice|with a medium pitch",
        "low": "in a low voice|at low pitch|in a deep voice|with a deep pitch|with low tones|in a low pitch",
        "high": "in a high voice|at high pitch|in a shrill voice|with a shrill pitch|with high tones|in a high pitch",
    },
}
_FRAMES = (
    "a {adjectives} {person} {phrases}",
    "{adjectives} {person}, {phrases}",
    "speak {phrases} like a {adjectives} {person}",
    "say it {phrases}, as a {adjectives} {person}",
    "{person}, {adjectives}, {phrases}",
    "{phrases}, {adjectives} {person}",
    "the {adjectives} {person} speaks {phrases}",
    "{person} speaking {phrases}, {adjectives}",
    "i want a {adjectives} {person} who talks {phrases}",
    "use a {adjectives} {person} here {phrases}",
)

_TEST_ADJECTIVES: _Words = {
    "emotion": {
        "neutral": "neutral-sounding|calm-sounding",
        "happy": "happy-sounding|cheery|happier",
        "sad": "sadder|gloomy-sounding|saddened",
        "angry": "angrier|furious-sounding|angered",
    },
    "speed": {
        "normal": "steady-paced|moderately paced",
        "slow": "slower|slowish|slow-talking",
        "fast": "faster|quicker|fast-talking",
    },
    "pitch": {
        "normal": "medium-voiced",
        "low": "low-toned|deeper-voiced",
        "high": "high-toned|higher-pitched",
    },
}
_TEST_PHRASES: _Words = {
    "emotion": {
        "neutral": "with no emotion|in calmness|in a calm tone",
        "happy": "with great joy|cheerfully|in a joyful tone",
        "sad": "with great sorrow|gloomily|in a sorrowful tone",
        "angry": "with great anger|furiously|in a furious tone",
    },
    "speed": {
        "normal": "with ordinary speed|at a normal rate",
        "slow": "in a slow way|sluggishly|quite slowly",
        "fast": "in a fast way|rapidly|quite quickly",
    },
    "pitch": {
        "normal": "with normal pitch",
        "low": "with a low pitch|with a deep voice",
        "high": "with a high pitch|with a shrill voice",
    },
}
_TEST_FRAMES = (
    "please sound like a {adjectives} {person} {phrases}",
    "the {person} is {adjectives} and talks {phrases}",
    "{phrases}: one {person}, {adjectives}",
)


def describe_style(labels: Mapping[str, str], rng: random.Random, held_out: bool = False) -> str:
    """A description of gender, emotion, speed and pitch (other factors are not put into words).

    With `held_out`, of frames and word forms that no other description has. A factor that is missing has its default.
    Raises `UnknownName` for a value that there are no words for.
    """
    full = {name: labels.get(name, default) for name, default in DEFAULTS.items()}
    for name, value in full.items():
        accepted = _PEOPLE if name == "gender" else _PHRASES[name]
        if value not in accepted:
            raise unknown_name(f"value of the style factor '{name}'", value, accepted)
    all_adjectives, all_phrases = (_TEST_ADJECTIVES, _TEST_PHRASES) if held_out else (_ADJECTIVES, _PHRASES)
    adjectives, phrases = [], []
    for name in ("emotion", "speed", "pitch"):
        value = full[name]
        if value == DEFAULTS[name] and rng.random() < _UNSAID_SHARE:
            continue
        if rng.random() < 0.5:
            adjectives.append(_one_of(all_adjectives[name][value], rng))
        else:
            phrases.append(_one_of(all_phrases[name][value], rng))
    rng.shuffle(adjectives)
    rng.shuffle(phrases)
    said = rng.choice(_TEST_FRAMES if held_out else _FRAMES).format(
        adjectives=" ".join(adjectives), person=_one_of(_PEOPLE[full["gender"]], rng), phrases=" and ".join(phrases)
    )
    return _tidy(said)


def _one_of(words: str, rng: random.Random) -> str:
    return rng.choice(words.split("|"))


def _tidy(text: str) -> str:
    """Without the double spaces and loose commas that empty places leave."""
    parts = (" ".join(part.split()) for part in text.split(","))
    return ", ".join(part for part in parts if part).removeprefix(": ").removesuffix(" and talks")
