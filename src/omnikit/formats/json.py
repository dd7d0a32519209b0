"""`format/json`: a reply is one JSON object whose keys follow the chain of modality."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omnikit.formats.chain import HEARD, REPLY, UNITS, ChainFormat, Ids, Parts, Values, read_units, value_of
from omnikit.slots.backbone import Backbone
from omnikit.slots.grammar import Rule, escaped, literal, optional, repeated, sequence, some_units

_UNITS_AT_END = r'"{}"\s*:\s*"((?:<\|[^<>|]*\|>)*)'


class JsonFormat(ChainFormat):
    """Replies as `{"heard": …, "reply": …, <style factors>, "units": …}`; other tasks answer in text or units.

    Args:
        factors: the style factors that a reply names, in the order in which they are written.

    Contract: gives the labels of `factors`, in their order.
    Ref: the structured replies of Chen et al. 2024 (EMOVA, arXiv 2409.18042, section 3.3), in keys of our own.

    >>> JsonFormat(factors=["emotion"]).tasks
    ('caption', 'asr', 'tts', 'dialogue')
    """

    name = "json"

    def write(self, parts: Parts) -> list[str | Ids]:
        head: dict[str, str] = {} if parts.heard is None else {HEARD: parts.heard}
        head |= {REPLY: parts.reply, **parts.labels}
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
        if parts.units is None:
            return [text]
        return [f'{text[:-1]},"{UNITS}":"', parts.units, '"}']

    def read(self, raw: str, backbone: Backbone) -> tuple[Parts, bool]:
        found, ok = read_object(raw, (HEARD, REPLY, *self.factors, UNITS), UNITS)
        labels = {factor: found[factor] for factor in self.factors if factor in found}
        units, whole = read_units(found[UNITS], backbone) if UNITS in found else (None, True)
        complete = REPLY in found and len(labels) in (0, len(self.factors))
        return Parts(found.get(HEARD), found.get(REPLY, ""), labels, units), ok and whole and complete

    def rule(self, num_codebooks: int, values: Values) -> Rule:
        style = (member(factor, value_of(factor, values, inside, TEXT), ",") for factor in self.factors)
        return sequence(
            literal("{"),
            optional(member(HEARD, TEXT), literal(",")),
            member(REPLY, TEXT),
            optional(*style),
            optional(member(UNITS, some_units(num_codebooks), ",")),
            literal("}"),
        )


def is_unescaped(letter: str) -> bool:
    """A character that stands in a JSON string as it is."""
    return letter not in '"\\' and letter >= " "


def inside(text: str) -> str:
    """A text as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


TEXT = repeated(escaped(is_unescaped, map(inside, ('"', "\\", *map(chr, range(0x20))))))
"""What stands between the quotes of a JSON string, each character in the one way in which it is written here."""


def member(key: str, value: Rule, before: str = "", colon: str = ":") -> Rule:
    """A key and its string value, `before` it what parts it from the last one."""
    return sequence(literal(f'{before}"{inside(key)}"{colon}"'), value, literal('"'))


def read_object(raw: str, keys: Sequence[str], units_key: str) -> tuple[dict[str, str], bool]:
    """The string values of `keys`, and whether `raw` is a JSON object with none but those, in their order."""
    try:
        value: Any = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, Mapping):
        found = {key: value[key] for key in keys if isinstance(value.get(key), str)}
        return found, list(value) == list(found)
    found = {}
    for key in keys:
        match = re.search(rf'"{re.escape(key)}"\s*:\s*("(?:[^"\\]|\\.)*")', raw)
        try:
            if match:
                found[key] = json.loads(match[1])
        except ValueError:
            continue
    if units_key in keys and units_key not in found:
        tail = re.search(_UNITS_AT_END.format(re.escape(units_key)), raw)
        if tail and tail[1]:
            found[units_key] = tail[1]
    return found, False
