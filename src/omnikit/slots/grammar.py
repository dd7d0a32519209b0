"""What a reply may spell: regular expressions over bytes and units, read one symbol at a time.

`rule.byte(b)` and `rule.unit(k)` give what may follow, or None: derivatives of regular expressions, so the automaton
is never built as a whole and its states are the rules themselves, equal where they mean the same. A format writes a
rule; a backbone lifts it to its own tokens, whatever pieces its text is cut into.
Ref: Brzozowski 1964 (derivatives of regular expressions, JACM 11); Willard and Louf 2023 (arXiv 2307.09702) for the
lifting to tokens. A library such as xgrammar knows text alone and would be a dependency; units, and the promise that a
reply ends within its budget, need an automaton of one's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache

NUM_CHARACTERS = 0x110000
SURROGATES = range(0xD800, 0xE000)
LOOKED_THROUGH_BITS = 12  # as many characters are looked at to find that a start of bytes may go on as it likes


class Rule(ABC):
    """A set of replies. Rules are values: equal ones mean the same."""

    cost: int
    """Symbols (bytes and units) of the shortest reply; 0 where nothing need follow."""

    @abstractmethod
    def byte(self, value: int) -> Rule | None:
        """What may follow one byte of UTF-8."""

    @abstractmethod
    def unit(self, codebook: int) -> Rule | None:
        """What may follow a unit of a codebook."""


@dataclass(frozen=True)
class Literal(Rule):
    """These bytes and nothing else."""

    data: bytes

    @property
    def cost(self) -> int:  # type: ignore[override]
        return len(self.data)

    def byte(self, value: int) -> Rule | None:
        return Literal(self.data[1:]) if self.data and self.data[0] == value else None

    def unit(self, codebook: int) -> Rule | None:
        return None


EMPTY = Literal(b"")


@dataclass(frozen=True)
class Unit(Rule):
    """Any one unit of a codebook."""

    codebook: int
    cost = 1

    def byte(self, value: int) -> Rule | None:
        return None

    def unit(self, codebook: int) -> Rule | None:
        return EMPTY if codebook == self.codebook else None


@dataclass(frozen=True)
class Character(Rule):
    """One character for which `accepts` holds; `read` are the bytes of it that stand already.

    `accepts` is known by its identity: use a module's function.
    """

    accepts: Callable[[str], bool]
    read: bytes = b""

    @property
    def cost(self) -> int:  # type: ignore[override]
        return _length(self.read[0]) - len(self.read) if self.read else _shortest(self.accepts)

    def byte(self, value: int) -> Rule | None:
        return _character(self.accepts, self.read + bytes([value]))

    def unit(self, codebook: int) -> Rule | None:
        return None


@lru_cache(maxsize=4096)
def _character(accepts: Callable[[str], bool], read: bytes) -> Rule | None:
    """What follows the first bytes of a character; None where no accepted character starts so."""
    length = _length(read[0])
    if length == 0 or len(read) > length or any(value & 0xC0 != 0x80 for value in read[1:]):
        return None
    value = read[0] if length == 1 else read[0] & (0xFF >> (length + 1))
    for byte in read[1:]:
        value = value << 6 | byte & 0x3F
    open_bits = 6 * (length - len(read))
    shortest = (0, 0x80, 0x800, 0x10000)[length - 1]  # below it a character has a shorter spelling, the only valid one
    codes = range(value << open_bits, (value + 1) << open_bits)
    held = (shortest <= code < NUM_CHARACTERS and code not in SURROGATES and accepts(chr(code)) for code in codes)
    first = next(held)
    if first and open_bits <= LOOKED_THROUGH_BITS and all(held):
        return _continuation(length - len(read))
    return Character(accepts, read) if first or any(held) else None


@lru_cache(maxsize=64)
def _shortest(accepts: Callable[[str], bool]) -> int:
    """Bytes of the shortest character that is accepted."""
    return next(
        len(chr(code).encode()) for code in range(NUM_CHARACTERS) if code not in SURROGATES and accepts(chr(code))
    )


def _continuation(num_bytes: int) -> Rule:
    """The last bytes of a character, whichever it is: one state for thousands of characters."""
    return sequence(*[_CONTINUATION] * num_bytes)


def _length(lead: int) -> int:
    """Bytes of the UTF-8 character that a byte starts; 0 where none starts so."""
    if lead < 0x80:
        return 1
    return next((length for length, limit in ((0, 0xC2), (2, 0xE0), (3, 0xF0), (4, 0xF5)) if lead < limit), 0)


@dataclass(frozen=True)
class Byte(Rule):
    """One byte of a range."""

    first: int
    last: int
    cost = 1

    def byte(self, value: int) -> Rule | None:
        return EMPTY if self.first <= value <= self.last else None

    def unit(self, codebook: int) -> Rule | None:
        return None


_CONTINUATION = Byte(0x80, 0xBF)


@dataclass(frozen=True)
class Then(Rule):
    """`first`, then `rest`."""

    first: Rule
    rest: Rule

    @property
    def cost(self) -> int:  # type: ignore[override]
        return self.first.cost + self.rest.cost

    def byte(self, value: int) -> Rule | None:
        return self._after(self.first.byte(value), self.first.cost == 0 and self.rest.byte(value))

    def unit(self, codebook: int) -> Rule | None:
        return self._after(self.first.unit(codebook), self.first.cost == 0 and self.rest.unit(codebook))

    def _after(self, first: Rule | None, rest: Rule | bool | None) -> Rule | None:
        found = [] if first is None else [sequence(first, self.rest)]
        return _either([*found, rest] if isinstance(rest, Rule) else found)


@dataclass(frozen=True)
class Choice(Rule):
    """Any of `options`, two at least."""

    options: frozenset[Rule]

    @property
    def cost(self) -> int:  # type: ignore[override]
        return min(option.cost for option in self.options)

    def byte(self, value: int) -> Rule | None:
        return _either(option.byte(value) for option in self.options)

    def unit(self, codebook: int) -> Rule | None:
        return _either(option.unit(codebook) for option in self.options)


@dataclass(frozen=True)
class Repeated(Rule):
    """`item` any number of times, also none."""

    item: Rule
    cost = 0

    def byte(self, value: int) -> Rule | None:
        after = self.item.byte(value)
        return None if after is None else sequence(after, self)

    def unit(self, codebook: int) -> Rule | None:
        after = self.item.unit(codebook)
        return None if after is None else sequence(after, self)


@dataclass(frozen=True)
class Later(Rule):
    """The rule `make(*given)`, made where it is reached: rules that come back to themselves. It may be empty."""

    make: Callable[..., Rule]
    given: tuple[Hashable, ...]
    cost = 0

    def byte(self, value: int) -> Rule | None:
        return _made(self.make, self.given).byte(value)

    def unit(self, codebook: int) -> Rule | None:
        return _made(self.make, self.given).unit(codebook)


@lru_cache(maxsize=256)
def _made(make: Callable[..., Rule], given: tuple[Hashable, ...]) -> Rule:
    return make(*given)


def literal(text: str) -> Rule:
    """This text and nothing else."""
    return Literal(text.encode())


def sequence(*rules: Rule) -> Rule:
    """One rule after the other."""
    rules = tuple(rule for rule in rules if rule != EMPTY)
    if not rules:
        return EMPTY
    *before, joined = rules
    for rule in reversed(before):
        joined = Then(rule, joined)
    return joined


def choice(*rules: Rule) -> Rule:
    """Any of these rules, one at least."""
    found = _either(rules)
    assert found is not None, "a choice needs an option"
    return found


def optional(*rules: Rule) -> Rule:
    """The sequence of these rules, or nothing."""
    return choice(EMPTY, sequence(*rules))


def repeated(*rules: Rule) -> Rule:
    """The sequence of these rules any number of times, also none."""
    return Repeated(sequence(*rules))


def times(rule: Rule, least: int, most: int) -> Rule:
    """A rule `least` to `most` times."""
    found: Rule = EMPTY
    for number in range(most, 0, -1):
        found = sequence(rule, found) if number <= least else optional(rule, found)
    return found


def unit_step(num_codebooks: int) -> Rule:
    """One step of units: an entry of every codebook, in order."""
    return sequence(*map(Unit, range(num_codebooks)))


def some_units(num_codebooks: int) -> Rule:
    """One step of units or more."""
    step = unit_step(num_codebooks)
    return sequence(step, repeated(step))


def escaped(plain: Callable[[str], bool], spellings: Iterable[str]) -> Rule:
    """One character of a text: a `plain` one as it is, another as one of `spellings`."""
    return choice(Character(plain), *map(literal, spellings))


def accepts(rule: Rule, symbols: Iterable[int | str]) -> bool:
    """Whether a rule holds `symbols`: text, and unit codebooks as numbers."""
    state: Rule | None = rule
    for symbol in symbols:
        for item in symbol.encode("utf-8", "surrogatepass") if isinstance(symbol, str) else (symbol,):
            if state is None:
                return False
            state = state.byte(item) if isinstance(symbol, str) else state.unit(item)
    return state is not None and state.cost == 0


def _either(rules: Iterable[Rule | None]) -> Rule | None:
    options: set[Rule] = set()
    for rule in rules:
        if isinstance(rule, Choice):
            options |= rule.options
        elif rule is not None:
            options.add(rule)
    if len(options) < 2:
        return next(iter(options), None)
    return Choice(frozenset(options))
