"""`format/tagged`: a reply is a row of tagged parts in the order of the chain of modality."""

from __future__ import annotations

import re

from omnikit.formats.chain import HEARD, REPLY, UNITS, ChainFormat, Ids, Parts, Values, read_units, value_of
from omnikit.slots.backbone import Backbone
from omnikit.slots.grammar import Rule, escaped, literal, optional, repeated, sequence, some_units


class TaggedFormat(ChainFormat):
    """Replies as `<heard>…</heard><reply>…</reply><emotion>sad</emotion> … <units>…</units>`.

    Args:
        factors: the style factors that a reply names, in the order in which they are written; each names a tag.

    Beside JSON: no quotes to escape and no separators, but every part is named twice. In texts `&` and `<` are written
    `&amp;` and `&lt;`, so that nothing that is said spells a tag or a unit.

    Contract: gives the labels of `factors`, in their order.
    Ref: the chain of modality of Zhang et al. 2023 (SpeechGPT, arXiv 2305.11000), in tags.

    >>> TaggedFormat(factors=["emotion"]).factors
    ('emotion',)
    """

    name = "tagged"

    def write(self, parts: Parts) -> list[str | Ids]:
        head = {} if parts.heard is None else {HEARD: parts.heard}
        head |= {REPLY: parts.reply, **parts.labels}
        text = "".join(f"<{key}>{_escape(value)}</{key}>" for key, value in head.items())
        if parts.units is None:
            return [text]
        return [f"{text}<{UNITS}>", parts.units, f"</{UNITS}>"]

    def read(self, raw: str, backbone: Backbone) -> tuple[Parts, bool]:
        found = {}
        for key in (HEARD, REPLY, *self.factors):
            match = re.search(rf"<{re.escape(key)}>([^<]*)</{re.escape(key)}>", raw)
            if match:
                found[key] = match[1].replace("&lt;", "<").replace("&amp;", "&")
        labels = {factor: found[factor] for factor in self.factors if factor in found}
        _, tag, spoken = raw.partition(f"<{UNITS}>")
        units = read_units(spoken.removesuffix(f"</{UNITS}>"), backbone)[0] if tag else None
        parts = Parts(found.get(HEARD), found.get(REPLY, ""), labels, units)
        return parts, self.is_spelling_of(raw, parts, backbone)

    def rule(self, num_codebooks: int, values: Values) -> Rule:
        style = (_part(factor, value_of(factor, values, _escape, _TEXT)) for factor in self.factors)
        return sequence(
            optional(_part(HEARD, _TEXT)),
            _part(REPLY, _TEXT),
            optional(*style),
            optional(_part(UNITS, some_units(num_codebooks))),
        )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _is_unescaped(letter: str) -> bool:
    return letter not in "&<"


_TEXT = repeated(escaped(_is_unescaped, map(_escape, "&<")))


def _part(key: str, value: Rule) -> Rule:
    return sequence(literal(f"<{key}>"), value, literal(f"</{key}>"))
