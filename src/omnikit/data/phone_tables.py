"""The phones that espeak-ng has for a language, read from its compiled table: the closed set that a text can come to.

The file holds one table after another, each naming the table that it extends; records are little-endian.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

from omnikit.data.espeak import languages, phone_table_file, voice_file
from omnikit.errors import DataError, unknown_name

LENGTH = ":"
_HEADER = struct.Struct("<BBxx32s")
_PHONE = struct.Struct("<4sIHBBBBBB")
_TONE = 1
_SPOKEN = range(2, 9)  # vowels, liquids, stops, fricatives, nasals; the others are pauses, marks and place holders


@dataclass(frozen=True)
class PhoneTable:
    """The spoken `phones` of a language, and the `suffixes` that may follow one: the mark of length, and tones."""

    phones: tuple[str, ...]
    suffixes: tuple[str, ...]


def phone_table(language: str) -> PhoneTable:
    """The table of a language of espeak-ng, e.g. `de`, `cmn`. Raises UnknownName where it has no such language."""
    if language not in languages():
        raise unknown_name("espeak-ng language", language, languages())
    told = voice_file(language)
    name = told.get("phonemes", told.get("language", language).split("-")[0])
    kinds: dict[str, int] = {}
    tables = _tables()
    if name not in tables:
        raise DataError(f"espeak-ng has no table of phones '{name}', which its language '{language}' names.")
    for _, phones in _lineage(tables, name):
        kinds |= phones
    spoken = tuple(sorted(phone for phone, kind in kinds.items() if kind in _SPOKEN))
    tones = sorted(phone for phone, kind in kinds.items() if kind == _TONE and phone.isdigit())
    return PhoneTable(spoken, (LENGTH, *tones))


_Tables = dict[str, tuple[int, dict[str, int]]]


def _lineage(tables: _Tables, name: str) -> list[tuple[int, dict[str, int]]]:
    """A table and those that it extends, the first ancestor first."""
    names = list(tables)
    chain = [tables[name]]
    while chain[0][0]:
        chain.insert(0, tables[names[chain[0][0] - 1]])
    return chain


@functools.cache
def _tables() -> _Tables:
    """Table name → (number of the table that it extends, counted from 1, or 0; kind of each phone by its mnemonic)."""
    data = phone_table_file().read_bytes()
    found: _Tables = {}
    place = 4
    for _ in range(data[0]):
        count, extends, name = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        kinds = {}
        for _ in range(count):
            mnemonic, _, _, _, kind, *_ = _PHONE.unpack_from(data, place)
            place += _PHONE.size
            kinds[_text(mnemonic)] = kind
        found[_text(name)] = (extends, kinds)
    return found


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")
