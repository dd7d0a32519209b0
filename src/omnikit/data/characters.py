"""The closed set of characters that texts are spelled with: Latin letters, apostrophe and space.

Letters with marks lose them (é → e), everything else that is written between words counts as a space.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from omnikit.errors import DataError

CHARACTERS: tuple[str, ...] = (" ", "'", *"abcdefghijklmnopqrstuvwxyz")
CHARACTER_INDEX: dict[str, int] = {character: index for index, character in enumerate(CHARACTERS)}


def spelled(text: str) -> list[int]:
    """Indices of the characters of `text`, in lower case, words parted by one space.

    Raises `DataError` for a text without any letter of the set (another script).
    """
    bare = "".join(item for item in unicodedata.normalize("NFKD", text) if not unicodedata.combining(item))
    kept = "".join(item if item in CHARACTER_INDEX else " " for item in bare.replace("’", "'").lower())
    words = " ".join(kept.split())
    if not words.strip(" '"):
        raise DataError(
            f"'{text[:60]}' has no letter of the character set ({''.join(CHARACTERS[1:])}).\n"
            "Supervise with ctc_phone, whose labels come from the sounds, for texts in another script."
        )
    return [CHARACTER_INDEX[character] for character in words]


def character_items(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, list[int]]]:
    """(path, duration, character indices) of every audio of `records` whose words are written down."""
    return [
        (audio["path"], audio["duration_s"], spelled(message["text"]))
        for record in records
        for message in record["messages"]
        for audio in (message.get("audio"), message.get("rendering", {}).get("audio"))
        if audio and "text" in message
    ]
