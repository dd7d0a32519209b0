"""Texts as indices of a closed set of characters."""

from __future__ import annotations

import pytest

from omnikit.data.characters import CHARACTERS, character_items, spelled
from omnikit.errors import DataError


def back(text: str) -> str:
    return "".join(CHARACTERS[index] for index in spelled(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's freezing, so take your collar.", "it's freezing so take your collar"),
        ("  two--words\n", "two words"),
        ("Él está aquí", "el esta aqui"),
        ("it’s 3 p.m.", "it's p m"),
    ],
)
def test_texts_are_spelled_with_the_set_alone(text: str, expected: str) -> None:
    assert back(text) == expected


@pytest.mark.parametrize("text", ["星は大きい", "42", "'' ''"])
def test_texts_without_a_letter_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="ctc_phone"):
        spelled(text)


def test_every_audio_of_a_message_has_its_words() -> None:
    audio = [{"path": f"{name}.flac", "duration_s": 1.0} for name in "abc"]
    records = [
        {"messages": [{"text": "hi", "audio": audio[0], "rendering": {"audio": audio[1]}}]},
        {"messages": [{"audio": audio[2]}, {"text": "no sound"}]},
    ]
    assert character_items(records) == [("a.flac", 1.0, spelled("hi")), ("b.flac", 1.0, spelled("hi"))]
