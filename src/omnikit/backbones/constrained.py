"""A grammar of bytes and units, lifted to the tokens of a backbone.

Letters: V vocabulary, B batch. Text tokens are pieces of bytes; a token is allowed where its bytes lead somewhere, so
every cut of the text into pieces that the model has learnt stays possible, across the seams of the format too.
How many tokens must still follow is known for every token: whatever the weights, a reply ends within its budget.
Ref: Willard and Louf 2023 (arXiv 2307.09702).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omnikit.errors import OmnikitError
from omnikit.slots.grammar import Rule

NEVER = torch.iinfo(torch.int32).max
_DEAD = -1


class Pieces:
    """The text pieces of a vocabulary (token id → bytes), in an order in which common starts are read once."""

    def __init__(self, pieces: Mapping[int, bytes]) -> None:
        pairs = sorted((data, index) for index, data in pieces.items() if data)
        self.bytes_of = dict(pieces)
        self.data = [data for data, _ in pairs]
        self.ids = [index for _, index in pairs]

    def skip(self, start: int, prefix: bytes) -> int:
        """The first place after `start` whose piece does not begin with `prefix`."""
        if prefix[-1] == 0xFF:
            return start + 1
        return bisect_left(self.data, prefix[:-1] + bytes([prefix[-1] + 1]), lo=start)


@dataclass(frozen=True)
class Marks:
    """Tokens `ids` of which one stands for a unit of each of `books`, and behind which `tail` more must come."""

    ids: range
    books: tuple[int, ...]
    tail: int = 0


@dataclass(frozen=True)
class Vocabulary:
    """Tokens as a grammar sees them: text pieces, those of units, the end, and how many ids there are."""

    pieces: Pieces
    marks: tuple[Marks, ...]
    end: int
    size: int


class Automaton:
    """The states of a rule over tokens, found as they are reached; state 0 is the start."""

    def __init__(self, rule: Rule, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._rules = [rule]
        self._costs = [rule.cost]
        self._numbers = {rule: 0}
        self._edges: dict[tuple[int, int], int] = {}
        self._needs: dict[int, Tensor] = {}

    def shortest(self) -> int:
        """Tokens that are enough for a reply, the end included."""
        return self._costs[0] + 1

    def allowed(self, states: Sequence[int], budget: int) -> Tensor:
        """Tokens [B, V] that may be written in these states so that the reply can end within `budget` tokens."""
        needs = torch.stack([self._needs_in(state) for state in states])  # [B, V]
        return needs <= budget

    def after(self, state: int, token: int) -> int:
        """The state behind an allowed token."""
        if token == self._vocabulary.end:
            return state
        for marks in self._vocabulary.marks:
            if token in marks.ids:
                return self._number(_units(self._rules[state], marks.books))
        for value in self._vocabulary.pieces.bytes_of[token]:
            state = self._edge(state, value)
        return state

    def after_step(self, state: int, num_codebooks: int) -> int | None:
        """The state behind a step of units; None where none may stand."""
        after = self._number(_units(self._rules[state], range(num_codebooks)))
        return None if after == _DEAD else after

    def leaving(self, state: int) -> int:
        """Tokens that a reply takes at least, the end included, when no unit comes next; `NEVER` where one must."""
        needs = self._needs_in(state).clone()
        for marks in self._vocabulary.marks:
            needs[marks.ids.start : marks.ids.stop] = NEVER
        return int(needs.min())

    def _needs_in(self, state: int) -> Tensor:
        """For every token [V] how many tokens a reply takes from it on, itself and the end included; or `NEVER`."""
        if state in self._needs:
            return self._needs[state]
        needs = torch.full((self._vocabulary.size,), NEVER, dtype=torch.int32)
        rule = self._rules[state]
        found = self._walk(state)
        if found:
            ids, ends = zip(*found, strict=True)
            needs[list(ids)] = torch.tensor([self._costs[end] + 2 for end in ends], dtype=torch.int32)
        for marks in self._vocabulary.marks:
            after = _units(rule, marks.books)
            if after is not None:
                needs[marks.ids.start : marks.ids.stop] = after.cost + 2 + marks.tail
        if self._costs[state] == 0:
            needs[self._vocabulary.end] = 1
        if int(needs.min()) > self._costs[state] + 1:
            raise OmnikitError(
                "The text vocabulary of this backbone cannot spell what the format asks for: it lacks single bytes.\n"
                "Decode without the grammar (constrained=False), or take a model with a byte-level vocabulary."
            )
        self._needs[state] = needs
        return needs

    def _walk(self, state: int) -> list[tuple[int, int]]:
        """Text tokens that lead somewhere, with the states behind them; pieces with one start share its reading."""
        pieces = self._vocabulary.pieces
        found = []
        path, read, place = [state], b"", 0
        while place < len(pieces.data):
            data = pieces.data[place]
            shared = _shared(read, data)
            path, read = path[: shared + 1], data[:shared]
            for value in data[shared:]:
                after = self._edge(path[-1], value)
                if after == _DEAD:
                    place = pieces.skip(place, read + bytes([value]))
                    break
                path.append(after)
                read += bytes([value])
            else:
                found.append((pieces.ids[place], path[-1]))
                place += 1
        return found

    def _edge(self, state: int, value: int) -> int:
        key = (state, value)
        if key not in self._edges:
            self._edges[key] = self._number(self._rules[state].byte(value))
        return self._edges[key]

    def _number(self, rule: Rule | None) -> int:
        if rule is None:
            return _DEAD
        if rule not in self._numbers:
            self._numbers[rule] = len(self._rules)
            self._rules.append(rule)
            self._costs.append(rule.cost)
        return self._numbers[rule]


def _units(rule: Rule, books: Iterable[int]) -> Rule | None:
    """What may follow a unit of each of these codebooks."""
    after: Rule | None = rule
    for book in books:
        after = None if after is None else after.unit(book)
    return after


def _shared(read: bytes, data: bytes) -> int:
    """How many bytes two pieces begin with in common."""
    for place, (one, other) in enumerate(zip(read, data, strict=False)):
        if one != other:
            return place
    return min(len(read), len(data))
