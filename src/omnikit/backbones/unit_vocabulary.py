"""How units stand in a backbone's vocabulary, and how they are spelled in text.

Letters: K codebooks, T units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from omnikit.errors import OmnikitError

_MARK = re.compile(r"<\|speech_(?:\d+_)?(\d+)\|>")


class UnitVocabulary:
    """Token ids of units: codebook 0 from `first` on, then codebook 1 …; codebooks of one step stand side by side.

    Spelling: `<|speech_n|>` for one codebook, `<|speech_k_n|>` for several.
    """

    def __init__(self, codebooks: Sequence[int], first: int) -> None:
        self.codebooks = tuple(codebooks)
        self.first = first
        self.size = sum(self.codebooks)
        self._offsets = [first + sum(self.codebooks[:book]) for book in range(len(self.codebooks))]

    def ids(self, units: Sequence[Sequence[int]]) -> list[int]:
        """Token ids of units [K][T]. Raises `OmnikitError` for another K, ragged rows or unknown units."""
        if len(units) != len(self.codebooks) or len({len(row) for row in units}) != 1:
            raise OmnikitError(f"units must be [K][T] with {len(self.codebooks)} rows (K) of one length.")
        for row, size in zip(units, self.codebooks, strict=True):
            outside = [unit for unit in row if not 0 <= unit < size]
            if outside:
                raise OmnikitError(f"unit {outside[0]} lies outside its codebook of {size}; is it another tokenizer's?")
        shifted = [[unit + start for unit in row] for row, start in zip(units, self._offsets, strict=True)]
        return [index for step in zip(*shifted, strict=True) for index in step]

    def ranges(self) -> tuple[range, ...]:
        """The token ids of every codebook."""
        return tuple(range(start, start + size) for start, size in zip(self._offsets, self.codebooks, strict=True))

    def spell(self, index: int) -> str:
        """The text of one token id of this vocabulary."""
        book = max(book for book, start in enumerate(self._offsets) if start <= index)
        unit = index - self._offsets[book]
        return f"<|speech_{unit}|>" if len(self.codebooks) == 1 else f"<|speech_{book}_{unit}|>"

    def parse(self, text: str) -> tuple[tuple[int, ...], ...]:
        """Units [K][T] that `text` spells. Raises `OmnikitError` for anything but whole steps of known units."""
        units = [int(mark) for mark in _MARK.findall(text)]
        rows = tuple(tuple(units[book :: len(self.codebooks)]) for book in range(len(self.codebooks)))
        whole = len({len(row) for row in rows}) == 1
        if not whole or "".join(map(self.spell, self.ids(rows))) != text:
            raise OmnikitError(f"'{text[:60]}' is no sequence of whole units of codebooks {list(self.codebooks)}.")
        return rows
