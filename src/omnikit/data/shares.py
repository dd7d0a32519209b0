"""Which rows of a batch a process takes, where several train together: the batch stays the same for any number of them.

A data set of batches that has an attribute `share` reads the rows of its own share only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Every `processes`-th row, from row `process` on; rows sorted by length are thus dealt out evenly."""

    process: int = 0
    processes: int = 1

    def of(self, rows: Sequence[T]) -> tuple[list[tuple[int, T]], bool]:
        """This process's rows with their places in the batch, and whether they count.

        A process that gets none stands in with the first row, which does not count: every process makes every step.
        """
        own = list(enumerate(rows))[self.process :: self.processes]
        return (own, True) if own else ([(0, rows[0])], False)

    def pieces(self, rows: Sequence[T], sizes: Sequence[int], limit: int) -> list[tuple[list[tuple[int, T]], bool]]:
        """What `of` gives in pieces, whose rows of `sizes` hold at most `limit` together; a larger row stands alone.

        Every process gets as many: where it needs fewer than another, the first row stands in, and does not count.
        """
        every = [_filled(range(first, len(rows), self.processes), sizes, limit) for first in range(self.processes)]
        number = max(len(pieces) for pieces in every)
        own = [([(place, rows[place]) for place in places], True) for places in every[self.process]]
        return own + [([(0, rows[0])], False)] * (number - len(own))


def _filled(places: Sequence[int], sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Places in as few pieces as the largest first, each into the first piece with room, need; in their order there."""
    pieces: list[list[int]] = []
    room: list[int] = []
    for place in sorted(places, key=lambda place: -sizes[place]):
        found = next((number for number, left in enumerate(room) if sizes[place] <= left), None)
        if found is None:
            found = len(pieces)
            pieces.append([])
            room.append(limit)
        pieces[found].append(place)
        room[found] -= sizes[place]
    return [sorted(piece) for piece in pieces]
