"""Everyday sentences from a wide grammar, random word strings, and the rule that gives every text its one split.

All texts are lower-case ASCII English with `.`, `,`, `?` and `'` only, numbers as words.
"""

from __future__ import annotations

import hashlib
import random
import re

from omnikit.data.words import (
    ADJECTIVES,
    ADVERBS,
    ANIMALS,
    CLOTHES,
    FEELINGS,
    FOODS,
    NAMES,
    NUMBERS,
    OBJECTS,
    PEOPLE,
    PLACES,
    SOUNDS,
    TIMES,
    VERBS,
    VOCABULARY,
    WEATHER,
)
from omnikit.errors import DataError

SPLITS = ("train", "valid", "test")
_TRAIN_SHARE, _VALID_SHARE = 0.88, 0.04
RANDOM_WORDS_SHARE = 0.2
ALLOWED_CHARACTERS = re.compile(r"[a-z .,?']+\Z")

_SLOTS: dict[str, tuple[str, ...]] = {
    "name": NAMES,
    "person": PEOPLE,
    "place": PLACES,
    "object": OBJECTS,
    "food": FOODS,
    "animal": ANIMALS,
    "clothes": CLOTHES,
    "adjective": ADJECTIVES,
    "adverb": ADVERBS,
    "verb": VERBS,
    "time": TIMES,
    "number": NUMBERS,
    "feeling": FEELINGS,
    "weather": WEATHER,
    "sound": SOUNDS,
}
_TEMPLATES: tuple[str, ...] = (
    "the {adjective} {person} {verb} the {object} {adverb}.",
    "{name} {verb} a {adjective} {object} {time}.",
    "my {person} {adverb} {verb} {number} {object}s.",
    "there were {number} {animal}s near the {place}.",
    "{name} was {feeling} {time}.",
    "did the {person} leave the {object} in the {place}?",
    "we heard a {sound} from the {adjective} {place}.",
    "{time}, {name} cooked {food} for {number} people.",
    "can you bring me the {adjective} {object}?",
    "i think it will be {weather} {time}.",
    "her {clothes} and his {clothes} are {adjective}.",
    "please put the {food} beside the {object}.",
    "the {animal} {verb} our {object}, didn't it?",
    "who {verb} the {object} at the {place}?",
    "{name} and {name} walked {adverb} to the {place}.",
    "the {person} looked {feeling}, but the {animal} didn't.",
    "this {object} costs {number} dollars.",
    "nobody likes {weather} days at the {place}.",
    "why is your {animal} so {feeling}?",
    "that's {name}'s {clothes}, not mine.",
    "{number} {person}s {verb} it {adverb}.",
    "{food} with {food} tastes {adjective}.",
    "you should've asked the {person} {time}.",
    "between the {place} and the {place} stood a {object}.",
    "it's {weather}, so take your {clothes}.",
)
_SLOT = re.compile(r"\{(\w+)\}(s\b)?")
_VOWELS = "aeiou"
_IRREGULAR_PLURALS = {"child": "children", "thief": "thieves", "knife": "knives"}


def normalise_text(text: str) -> str:
    """Lower case, no punctuation but apostrophes inside words, single spaces: what two texts are compared by."""
    words = re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())
    return " ".join(words)


def check_text(text: str) -> None:
    """Raise DataError when `text` holds anything but lower-case letters, spaces and . , ? '."""
    if not ALLOWED_CHARACTERS.match(text):
        raise DataError(f"The text {text!r} must be lower-case ASCII with . , ? ' only and numbers as words.")


def split_of_text(text: str, seed: int) -> str:
    """The one split of a text, by a hash of its normalised form: about 88 % train, 4 % valid, 8 % test."""
    digest = hashlib.sha256(f"split/{seed}/{normalise_text(text)}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2.0**64
    if place < _TRAIN_SHARE:
        return "train"
    return "valid" if place < _TRAIN_SHARE + _VALID_SHARE else "test"


def plural(noun: str) -> str:
    """The plural of an English noun of the vocabulary."""
    if noun in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh", "z")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in _VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def _fill(slot: re.Match[str], rng: random.Random) -> str:
    word = rng.choice(_SLOTS[slot.group(1)])
    return plural(word) if slot.group(2) else word


def _fix_articles(text: str) -> str:
    return re.sub(rf"\ba (?=[{_VOWELS}])", "an ", text)


def sentence(rng: random.Random) -> str:
    """A grammatical everyday sentence."""
    template = rng.choice(_TEMPLATES)
    return _fix_articles(_SLOT.sub(lambda slot: _fill(slot, rng), template))


def random_words(rng: random.Random) -> str:
    """Three to six words of the vocabulary in no order: every phone in contexts that no grammar gives."""
    return " ".join(rng.choice(VOCABULARY) for _ in range(rng.randint(3, 6))) + "."


def general_text(rng: random.Random) -> str:
    """A sentence of the grammar or, for one text in five, a random string of words."""
    return random_words(rng) if rng.random() < RANDOM_WORDS_SHARE else sentence(rng)
