"""`format/plain_chain`: the chain of modality as bare lines, known by their places."""

from __future__ import annotations

from omnikit.formats.chain import ChainFormat, Ids, Parts, Values, read_units, value_of
from omnikit.formats.lines import END, LINE, line, part
from omnikit.slots.backbone import Backbone
from omnikit.slots.grammar import Rule, choice, optional, sequence, some_units


class PlainChainFormat(ChainFormat):
    """Replies as lines: what was heard, the reply, one line a style factor; behind the last one stand the units.

    Args:
        factors: the style factors that a reply names, in the order in which they are written.

    The fewest tokens of all formats: no part is named. A line is empty where the part is not there.
    Contract: gives the labels of `factors`, in their order.
    Ref: the chain of modality of Zhang et al. 2023 (SpeechGPT, arXiv 2305.11000), without its labels in words.

    >>> PlainChainFormat(factors=["emotion"]).factors
    ('emotion',)
    """

    name = "plain_chain"

    def write(self, parts: Parts) -> list[str | Ids]:
        values = [parts.heard, parts.reply, *(parts.labels.get(factor) for factor in self.factors)]
        text = "".join(f"{line(value)}\n" for value in values)
        return [text] if parts.units is None else [text, parts.units]

    def read(self, raw: str, backbone: Backbone) -> tuple[Parts, bool]:
        lines, spoken = split(raw, 2 + len(self.factors))
        heard, reply, *style = map(part, lines)
        labels = {factor: value for factor, value in zip(self.factors, style, strict=True) if value is not None}
        parts = Parts(heard, reply or "", labels, read_units(spoken, backbone)[0])
        return parts, self.is_spelling_of(raw, parts, backbone)

    def rule(self, num_codebooks: int, values: Values) -> Rule:
        return sequence(
            optional(LINE),
            END,
            LINE,
            END,
            style_lines(self.factors, values),
            optional(some_units(num_codebooks)),
        )


def style_lines(factors: tuple[str, ...], values: Values) -> Rule:
    """A line for every factor, all of them empty or none."""
    told = sequence(*(sequence(value_of(factor, values, line, LINE), END) for factor in factors))
    return choice(told, sequence(*(END for _ in factors)))


def split(raw: str, num_lines: int) -> tuple[list[str], str]:
    """The first lines, empty ones in place of those that are not there, and what stands behind them."""
    *lines, rest = raw.split("\n", num_lines)
    missing = num_lines - len(lines)
    return ([*lines, rest, *[""] * (missing - 1)], "") if missing else (lines, rest)
