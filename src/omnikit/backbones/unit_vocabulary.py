"""How units stand in a backbone's vocabulary, and how they are spelled in text.

Letters: K codebooks, T units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from omnikit.errors import OmnikitError

_MARK = re.compile(r"<\|speech_(?:\d+_)?(\d+)\|>")


def spellings(codebooks: Sequence[int]) -> list[list[str]]:
    """The text of every unit: `<|speech_n|>` for one codebook, `<|speech_k_n|>` for several."""
    if len(codebooks) == 1:
        return [[f"<|speech_{unit}|>" for unit in range(codebooks[0])]]
    return [[f"<|speech_{book}_{unit}|>" for unit in range(size)] for book, size in enumerate(codebooks)]


class UnitVocabulary:
    """Token ids of units: codebook 0 from `first` on, then codebook 1 …; codebooks of one step stand side by side.

    `places` instead of that order: the id of every unit of each codebook, where a published tokenizer already has them.
    The units of a codebook may stand in any order, with nothing between them; else `OmnikitError`.
    """

    def __init__(self, codebooks: Sequence[int], first: int, places: Sequence[Sequence[int]] | None = None) -> None:
        self.codebooks = tuple(codebooks)
        self.size = sum(self.codebooks)
        if places is None:
            starts = [first + sum(self.codebooks[:book]) for book in range(len(self.codebooks))]
            places = [range(start, start + size) for start, size in zip(starts, self.codebooks, strict=True)]
        self.places = [list(book) for book in places]
        self._ranges = tuple(range(min(book), max(book) + 1) for book in self.places)
        if any(len(set(book)) != len(ids) for book, ids in zip(self.places, self._ranges, strict=True)):
            raise OmnikitError(
                "The units of this tokenizer do not stand together in its vocabulary: other tokens are between them.\n"
                "Add all units of a codebook in one go."
            )
        self.first = min(ids.start for ids in self._ranges)
        self.last = max(ids.stop for ids in self._ranges) - 1
        marks = spellings(self.codebooks)
        self._spelled = dict(zip(chain(*self.places), chain(*marks), strict=True))

    def __contains__(self, index: int) -> bool:
        return index in self._spelled

    def ids(self, units: Sequence[Sequence[int]]) -> list[int]:
        """Token ids of units [K][T]. Raises `OmnikitError` for another K, ragged rows or unknown units."""
        if len(units) != len(self.codebooks) or len({len(row) for row in units}) != 1:
            raise OmnikitError(f"units must be [K][T] with {len(self.codebooks)} rows (K) of one length.")
        for row, size in zip(units, self.codebooks, strict=True):
            outside = [unit for unit in row if not 0 <= unit < size]
            if outside:
                raise OmnikitError(f"unit {outside[0]} lies outside its codebook of {size}; is it another tokenizer's?")
        placed = [[book[unit] for unit in row] for row, book in zip(units, self.places, strict=True)]
        return [index for step in zip(*placed, strict=True) for index in step]

    def ranges(self) -> tuple[range, ...]:
        """The token ids of every codebook."""
        return self._ranges

    def spell(self, index: int) -> str:
        """The text of one token id of this vocabulary."""
        return self._spelled[index]

    def parse(self, text: str) -> tuple[tuple[int, ...], ...]:
        """Units [K][T] that `text` spells. Raises `OmnikitError` for anything but whole steps of known units."""
        units = [int(mark) for mark in _MARK.findall(text)]
        rows = tuple(tuple(units[book :: len(self.codebooks)]) for book in range(len(self.codebooks)))
        whole = len({len(row) for row in rows}) == 1
        if not whole or "".join(map(self.spell, self.ids(rows))) != text:
            raise OmnikitError(f"'{text[:60]}' is no sequence of whole units of codebooks {list(self.codebooks)}.")
        return rows
