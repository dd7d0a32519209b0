"""Which samples form which batch: sources take turns by the tokens that they have given, and batches hold true tokens.

Backbones read a batch as one row without padding, so samples of a batch need not be of similar length. What has been
given is exact: after any number of samples no source is further from its share than by its longest sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from omnikit.errors import DataError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
State = tuple[int, ...]


@dataclass(frozen=True)
class Counted(Generic[T_co]):
    """A sample and the positions that it takes."""

    sample: T_co
    tokens: int


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be used: the record or file that it is of, and why."""

    name: str
    reason: str


class Stream(Protocol[T_co]):
    """Endless samples of one source; where it stands is a few integers."""

    def peek(self) -> Counted[T_co]:
        """The sample that comes next."""

    def advance(self) -> None:
        """Go on to the sample after it."""

    def state(self) -> State:
        """Where the stream stands."""

    def restore(self, state: State) -> None:
        """Go to where `state` was taken."""

    def skipped(self) -> list[Skipped]:
        """What was met and left out since the last call."""


class Shuffled(Generic[T]):
    """Samples in memory, shuffled anew every pass by `seed`; those of more than `limit` tokens are left out.

    Raises `DataError` where none is left.
    """

    def __init__(self, samples: Sequence[T], lengths: Sequence[int], *, seed: Sequence[int], limit: int) -> None:
        self.samples, self.lengths, self.seed = samples, lengths, tuple(seed)
        self.fitting = [number for number, length in enumerate(lengths) if length <= limit]
        long = [number for number, length in enumerate(lengths) if length > limit]
        self._long = [Skipped(f"sample {number}", over_long(lengths[number], limit)) for number in long]
        if not self.fitting:
            raise DataError(f"None of {len(samples)} samples fits into {limit} positions.")
        self.position = 0
        self._pass, self._order = -1, np.empty(0, dtype=int)

    def peek(self) -> Counted[T]:
        """The sample at `position`."""
        number, place = divmod(self.position, len(self.fitting))
        if number != self._pass:
            self._pass, self._order = number, np.random.default_rng([*self.seed, number]).permutation(self.fitting)
        chosen = int(self._order[place])
        return Counted(self.samples[chosen], int(self.lengths[chosen]))

    def advance(self) -> None:
        """One position further."""
        self.position += 1

    def state(self) -> State:
        """Samples given so far."""
        return (self.position,)

    def restore(self, state: State) -> None:
        """Go to a position; what is too long has been told before it."""
        (self.position,) = state
        if self.position:
            self._long = []

    def skipped(self) -> list[Skipped]:
        """What is too long, once."""
        told, self._long = self._long, []
        return told


def over_long(length: int, limit: int) -> str:
    """Why a sample of `length` positions is left out."""
    return f"takes {length} positions, at most {limit} fit"


@dataclass(frozen=True)
class Drawn(Generic[T_co]):
    """A sample of a batch, its tokens, and its source."""

    source: str
    sample: T_co
    tokens: int


class Mixture(Generic[T]):
    """Endless batches of at most `batch_tokens` true tokens from streams by name.

    Next comes the source that has given least for its weight. A batch ends before the sample that no longer fits, which
    is the first of the next. Every stream must leave out what is longer than a whole batch.
    Ref: deficit round robin, Shreedhar and Varghese, SIGCOMM 1995.
    """

    def __init__(self, streams: Mapping[str, Stream[T]], weights: Mapping[str, float], batch_tokens: int) -> None:
        if not weights or any(weight <= 0 for weight in weights.values()):
            raise DataError(f"A mixture needs sources with weights above 0, got {dict(weights)}.")
        self.streams, self.weights, self.batch_tokens = dict(streams), dict(weights), batch_tokens
        self.given = dict.fromkeys(self.weights, 0)

    def batch(self) -> list[Drawn[T]]:
        """The samples of the next batch."""
        found: list[Drawn[T]] = []
        room = self.batch_tokens
        while True:
            source = min(self.weights, key=lambda name: self.given[name] / self.weights[name])
            following = self.streams[source].peek()
            if following.tokens > room:
                assert found, "a stream gave a sample that is longer than a batch"
                return found
            self.streams[source].advance()
            self.given[source] += following.tokens
            room -= following.tokens
            found.append(Drawn(source, following.sample, following.tokens))

    def skipped(self) -> list[Skipped]:
        """What the streams have met and left out since the last call."""
        return [
            Skipped(f"{source}: {told.name}", told.reason)
            for source in self.weights
            for told in self.streams[source].skipped()
        ]

    def state(self) -> dict[str, State]:
        """A few integers for every source: what it has given, and where it stands."""
        return {name: (self.given[name], *self.streams[name].state()) for name in self.weights}

    def restore(self, state: Mapping[str, State]) -> None:
        """Go on where `state` was taken. Raises `DataError` for that of other sources."""
        if set(state) != set(self.weights):
            raise DataError(
                f"The checkpoint is of a mixture of {', '.join(sorted(state))};\n"
                f"this one mixes {', '.join(sorted(self.weights))}. Start over with overwrite=true."
            )
        for name, (given, *own) in state.items():
            self.given[name] = given
            self.streams[name].restore(tuple(own))
