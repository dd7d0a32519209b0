"""Texts as lines: how the formats that name no keys write a part, and how they read it back."""

from __future__ import annotations

import re

from omnikit.slots.grammar import choice, escaped, literal, repeated, sequence

NOTHING_SAID = "\\e"
"""A part that is there, but has no text; an empty line is a part that is not there."""

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "<": "\\<"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def escape(text: str) -> str:
    """A text on one line in which no mark of a unit can be spelled: `<` is `\\<`, a line break `\\n`."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def unescape(text: str) -> str:
    """The inverse of `escape`; another letter behind a `\\` stands for itself."""
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text)


def line(text: str | None) -> str:
    """A part as a line without its end: None is empty."""
    return "" if text is None else escape(text) or NOTHING_SAID


def part(text: str) -> str | None:
    """The inverse of `line`."""
    return None if not text else "" if text == NOTHING_SAID else unescape(text)


def is_unescaped(letter: str) -> bool:
    """A character that `escape` leaves as it is."""
    return letter not in _ESCAPES


ESCAPED = tuple(_ESCAPES.values())
LETTER = escaped(is_unescaped, ESCAPED)
"""One character of a text as `escape` writes it."""
LINE = choice(literal(NOTHING_SAID), sequence(LETTER, repeated(LETTER)))
"""A part that is there."""
END = literal("\n")
