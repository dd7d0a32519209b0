"""Recordings to take a style from: for a voice that is shown how to speak, where others are told by labels."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from omnikit.data import prosody
from omnikit.data.records import read_records
from omnikit.evaluation.material import Record, known_labels
from omnikit.system import System
from omnikit.types import Style

FILES = ("voice.train", "voice.test", "voice.test_style")
"""Where recordings are looked for, in this order: styles that training never rendered are in the last one alone."""


class Shelf:
    """The renderings of a corpus by the style that they are spoken in."""

    def __init__(self, corpus: Path) -> None:
        self.corpus = corpus
        self._tables = [_by_style(corpus, name) for name in FILES]

    @cached_property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """The factors of the styles that there are, and the values of each; the neutral one comes first."""
        styles = [own[0]["rendering"]["style"] for table in self._tables for own in table.values()]
        values: dict[str, set[str]] = defaultdict(set)
        for style in styles:
            for name, value in style.items():
                values[name].add(value)
        return {name: _neutral_first(name, own) for name, own in values.items()}

    def another(self, style: Mapping[str, str], record: Record, seed: int) -> Path | None:
        """A recording in `style` of another text than that of `record`, drawn by `seed`; None where there is none."""
        text = record["messages"][0]["text"]
        for table in self._tables:
            others = [other for other in table.get(_key(style), ()) if other["text"] != text]
            if others:
                message = random.Random(f"{seed} {record['id']}").choice(others)
                return self.corpus / str(message["rendering"]["audio"]["path"])
        return None


def shows_style(system: System) -> bool:
    """Whether the system's style module hears recordings and knows no labels, as `style/reference` does."""
    module = system.part("style")
    return "audio" in module.views and not module.factors


def how_shown(system: System) -> str:
    """What the column `how` adds where styles are shown and not told; empty where they are told."""
    return "; styles are shown by other recordings" if shows_style(system) else ""


def references_of(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[Path | None]:
    """For each `voice` record a recording of another text in the style of its rendering; None where labels tell it.

    A record whose style is in no other recording gets its own rendering.
    """
    if not shows_style(system):
        return [None] * len(records)
    shelf = Shelf(corpus)
    renderings = [record["messages"][0]["rendering"] for record in records]
    return [
        shelf.another(rendering["style"], record, seed) or corpus / str(rendering["audio"]["path"])
        for record, rendering in zip(records, renderings, strict=True)
    ]


def asked_labels(record: Record) -> dict[str, str]:
    """What says how a `voice` record is rendered: the labels of its style, and as `speaker` the voice that speaks."""
    rendering = record["messages"][0]["rendering"]
    speaker = {"speaker": rendering["audio"]["voice"]} if "voice" in rendering["audio"] else {}
    return {**rendering["style"], **speaker}


def asked_style(system: System, labels: Mapping[str, str], reference: Path | None) -> Style:
    """The style of a `reference` recording, or without one that of `labels`, as far as the style module knows them."""
    return system.style_of(known_labels(system, labels)) if reference is None else system.style_of(reference=reference)


def _by_style(corpus: Path, name: str) -> dict[tuple, list[Record]]:
    """The messages of a file's records by the style of their renderings."""
    found: dict[tuple, list[Record]] = defaultdict(list)
    for record in read_records(corpus / f"{name}.jsonl"):
        message = record["messages"][0]
        found[_key(message["rendering"]["style"])].append(message)
    return found


def _neutral_first(factor: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(values, key=lambda value: (value != prosody.NEUTRAL.get(factor), value)))


def _key(style: Mapping[str, str]) -> tuple:
    return tuple(sorted(style.items()))
