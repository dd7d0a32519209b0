"""Samples streamed from shards in an order that is a function of the seed, from any place where they were left.

Every pass shuffles the shards; records are then read one behind the other, and the samples of `window` of them are
shuffled. Where a stream stands is four integers: pass, shard of the pass and record of the shard with which the window
begins, and samples of the window given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from omnikit.data.packing import Counted, Skipped, State, over_long
from omnikit.data.shards import Entry, read_shard
from omnikit.errors import DataError, OmnikitError

T = TypeVar("T")
WINDOW = 512
"""Records that are shuffled together, and held in memory with their files."""
_NOT_READ = -1


class ShardStream(Generic[T]):
    """Endless samples of shards.

    Args:
        samples_of: the samples that a record holds; it may raise `OmnikitError` for one that cannot be used.
        count: positions that a sample takes.
        limit: samples of more positions are left out.

    Raises `DataError` when a whole pass gives no sample.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        samples_of: Callable[[Mapping[str, Any]], Sequence[T]],
        count: Callable[[T], int],
        *,
        seed: Sequence[int],
        limit: int,
        window: int = WINDOW,
    ) -> None:
        if not shards:
            raise DataError("A stream needs at least one shard.")
        self.shards, self.samples_of, self.count = list(shards), samples_of, count
        self.seed, self.limit, self.window = tuple(seed), limit, window
        self._begin = self._end = (0, 0, 0)
        self._place = _NOT_READ
        self._samples: list[Counted[T]] = []
        self._skipped: list[Skipped] = []
        self._coming: Iterator[tuple[tuple[int, int, int], Entry]] | None = None

    def peek(self) -> Counted[T]:
        """The sample that comes next."""
        empty_since = None
        while self._place in (_NOT_READ, len(self._samples)):
            if self._place != _NOT_READ:
                if not self._samples:
                    empty_since = self._begin[0] if empty_since is None else empty_since
                self._begin = self._end
            if empty_since is not None and self._begin[0] > empty_since + 1:
                told = "\n".join(f"{item.name}: {item.reason}" for item in self._skipped[:4])
                raise DataError(f"A whole pass through {len(self.shards)} shards gave no sample.\n{told}".strip())
            self._read()
        return self._samples[self._place]

    def advance(self) -> None:
        """Go on to the sample after it."""
        self.peek()
        self._place += 1

    def state(self) -> State:
        """Pass, shard, record, samples given of the window; the last is -1 before the window is read."""
        return (*self._begin, self._place)

    def restore(self, state: State) -> None:
        """Go to where `state` was taken. What was left out before is not told again."""
        number, shard, record, place = state
        self._begin = self._end = (number, shard, record)
        self._place, self._samples, self._skipped, self._coming = _NOT_READ, [], [], None
        if place != _NOT_READ:
            self._read()
            self._place, self._skipped = place, []

    def skipped(self) -> list[Skipped]:
        """What was met and left out since the last call."""
        told, self._skipped = self._skipped, []
        return told

    def _read(self) -> None:
        """Read the window that starts at `_begin` and shuffle its samples."""
        if self._coming is None:
            self._coming = self._entries(*self._begin)
        found: list[Counted[T]] = []
        for _ in range(self.window):
            self._end, entry = next(self._coming)
            found += self._usable(entry)
            if self._end[0] > self._begin[0]:
                break  # windows end with the pass
        order = np.random.default_rng([*self.seed, 1, *self._begin]).permutation(len(found))
        self._samples, self._place = [found[index] for index in order], 0

    def _usable(self, entry: Entry) -> list[Counted[T]]:
        if entry.record is None:
            self._skipped.append(Skipped(entry.name, entry.problem))
            return []
        found = []
        try:
            for sample in self.samples_of(entry.record):
                tokens = self.count(sample)
                if tokens > self.limit:
                    self._skipped.append(Skipped(entry.name, over_long(tokens, self.limit)))
                else:
                    found.append(Counted(sample, tokens))
        except OmnikitError as error:
            self._skipped.append(Skipped(entry.name, str(error).splitlines()[0]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._skipped.append(Skipped(entry.name, f"breaks the schema of records: {error!r}"[:200]))
        return found

    def _entries(self, number: int, shard: int, record: int) -> Iterator[tuple[tuple[int, int, int], Entry]]:
        """Every entry from a place on, without end, with the place behind it."""
        while True:
            order = np.random.default_rng([*self.seed, 0, number]).permutation(len(self.shards))
            whole, empty = (shard, record) == (0, 0), True
            for place in range(shard, len(order)):
                entries = read_shard(self.shards[order[place]], record)
                entry = next(entries, None)
                while entry is not None:
                    empty = False
                    following = next(entries, None)
                    record += 1
                    if following is None:
                        last = place + 1 == len(order)
                        yield ((number + 1, 0, 0) if last else (number, place + 1, 0)), entry
                    else:
                        yield (number, place, record), entry
                    entry = following
                record = 0
            if whole and empty:
                raise DataError(f"{len(self.shards)} shards hold no record, {self.shards[0]} among them.")
            number, shard = number + 1, 0
