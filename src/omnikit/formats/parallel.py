"""`format/parallel`: text and units grow together, a few words and a few steps of units by turns.

Both stand in one sequence of tokens, as in Zeng et al. 2024 (GLM-4-Voice, arXiv 2412.02612), which a `Segment` sequence
and one output head can carry. Text and units in the *same* step (Mini-Omni, arXiv 2408.16725; Moshi, arXiv 2410.00037)
need a backbone that sums several embeddings into a position and writes from several heads: another contract.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from omnikit.contracts import Contract, LabelsPort
from omnikit.errors import OmnikitError
from omnikit.formats.chain import FACTORS, MARK, ChainFormat, Ids, Parts, Values, read_units
from omnikit.formats.lines import END, ESCAPED, LINE, escape, is_unescaped, line, part, unescape
from omnikit.formats.plain_chain import split, style_lines
from omnikit.slots.backbone import Backbone
from omnikit.slots.grammar import (
    Character,
    Later,
    Rule,
    choice,
    escaped,
    optional,
    repeated,
    sequence,
    some_units,
    times,
    unit_step,
)

_PIECE = re.compile(rf"\\.|{MARK.pattern}|.", re.DOTALL)
_START, _NARROW, _WIDE = "start", "narrow", "wide"  # what the last word ended with


class ParallelFormat(ChainFormat):
    """Replies whose sound can begin after the first words: heard and style as lines, then text and units by turns.

    Args:
        factors: the style factors that a reply names, in the order in which they are written.
        words: words in a chunk of text; a wide character (as of Chinese) is a word of its own.
        steps: steps of units in a chunk. When one of the two is over, the rest of the other follows in one piece.

    The style stands before the reply, as it is needed with the first units.
    Contract: gives the labels of `factors`, in their order.
    Ref: the interleaving of Zeng et al. 2024 (GLM-4-Voice, arXiv 2412.02612), in words instead of text tokens, so that
    the chunks do not depend on how a backbone cuts text.

    >>> ParallelFormat(words=4, steps=25).factors
    ('emotion', 'pitch', 'speed')
    """

    name = "parallel"

    def __init__(self, factors: Sequence[str] = FACTORS, words: int = 4, steps: int = 25) -> None:
        super().__init__(factors)
        if min(words, steps) < 1:
            raise OmnikitError(f"format/parallel takes words >= 1 and steps >= 1, got {words} and {steps}.")
        self.words, self.steps = words, steps

    @classmethod
    def contract(cls, factors: Sequence[str], words: int, steps: int) -> Contract:
        return Contract(gives={"labels": LabelsPort(tuple(factors))}, causal=True, lookahead_ms=0.0)

    def write(self, parts: Parts) -> list[str | Ids]:
        head = [parts.heard, *(parts.labels.get(factor) for factor in self.factors)]
        written: list[str | Ids] = ["".join(f"{line(value)}\n" for value in head)]
        for words, steps in zip_longest(*self._chunks(parts)):
            if words:
                written[-1:] = [written[-1] + words] if isinstance(written[-1], str) else [written[-1], words]
            if steps:
                written.append(steps)
        return written

    def read(self, raw: str, backbone: Backbone) -> tuple[Parts, bool]:
        lines, body = split(raw, 1 + len(self.factors))
        heard, *style = map(part, lines)
        labels = {factor: value for factor, value in zip(self.factors, style, strict=True) if value is not None}
        pieces = _PIECE.findall(body)
        marks = "".join(piece for piece in pieces if MARK.fullmatch(piece))
        text = unescape("".join(piece for piece in pieces if not MARK.fullmatch(piece)))
        parts = Parts(heard, text, labels, read_units(marks, backbone)[0])
        return parts, self.is_spelling_of(raw, parts, backbone)

    def rule(self, num_codebooks: int, values: Values) -> Rule:
        body = Later(_body, (self.words, self.steps, num_codebooks, 0, _START))
        return sequence(optional(LINE), END, style_lines(self.factors, values), body)

    def _chunks(self, parts: Parts) -> tuple[list[str], list[Ids]]:
        """Text and units cut into chunks; what is left of the longer one is its last chunk."""
        words = _words(escape(parts.reply))
        texts = ["".join(words[at : at + self.words]) for at in range(0, len(words), self.words)]
        length = len(parts.units[0]) if parts.units else 0
        units = [tuple(row[at : at + self.steps] for row in parts.units or ()) for at in range(0, length, self.steps)]
        both = max(1, min(len(texts), len(units)))
        if len(texts) > both:
            texts[both:] = ["".join(texts[both:])]
        if len(units) > both:
            units[both:] = [tuple(sum(rows, ()) for rows in zip(*units[both:], strict=True))]
        return texts, units


def _is_space(letter: str) -> bool:
    return letter.isspace() and letter != "\n"


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF" and not letter.isspace()


def _is_narrow(letter: str) -> bool:
    return is_unescaped(letter) and not letter.isspace() and not _is_wide(letter)


def _words(text: str) -> list[str]:
    """A text cut before every word: white space belongs to the word behind it, at the end to the last one."""
    words: list[str] = []
    begun, last = False, ""
    for letter in text:
        if not words or (begun and (_is_space(letter) or _is_wide(letter) or _is_wide(last))):
            words.append("")
            begun = False
        words[-1] += letter
        begun, last = begun or not _is_space(letter), letter
    if len(words) > 1 and not begun:
        words[-2:] = ["".join(words[-2:])]
    return words


_SPACES = repeated(Character(_is_space))
_GAP = sequence(Character(_is_space), _SPACES)
_LETTER = escaped(_is_narrow, ESCAPED)
_ANYTHING = repeated(choice(_LETTER, Character(_is_wide), Character(_is_space)))


def _body(words: int, steps: int, num_codebooks: int, said: int, after: str) -> Rule:
    """What may follow `said` words of a chunk, where the last word ended as `after` says."""
    step = unit_step(num_codebooks)
    text_is_over = optional(some_units(num_codebooks))
    if said or after == _START:
        text_is_over = sequence(_SPACES, text_is_over)
    narrow = sequence(_GAP if after == _NARROW else _SPACES, _LETTER)
    wide = sequence(_SPACES, Character(_is_wide))
    if said < words:
        ended = ((_NARROW, sequence(narrow, repeated(_LETTER))), (_WIDE, wide))
        more = (sequence(word, Later(_body, (words, steps, num_codebooks, said + 1, kind))) for kind, word in ended)
        return choice(text_is_over, *more)
    units_are_over = sequence(choice(narrow, wide), _ANYTHING)
    next_chunk = Later(_body, (words, steps, num_codebooks, 0, after))
    short = sequence(times(step, 1, steps - 1), units_are_over) if steps > 1 else units_are_over
    return choice(text_is_over, units_are_over, short, sequence(times(step, steps, steps), next_chunk))
