"""Recordings to take a style from: for a voice that is shown how to speak, where others are told by labels."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from omnikit.data.records import read_records
from omnikit.evaluation.material import Record
from omnikit.system import System

FILES = ("voice.train", "voice.test", "voice.test_style")
"""Where recordings are looked for, in this order: styles that training never rendered are in the last one alone."""


def shows_style(system: System) -> bool:
    """Whether the system's style module hears recordings and knows no labels, as `style/reference` does."""
    module = system.part("style")
    return "audio" in module.views and not module.factors


def references_of(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[Path | None]:
    """For each `voice` record a recording of another text in the style of its rendering; None where labels tell it.

    A record whose style is in no other recording gets its own rendering.
    """
    if not shows_style(system):
        return [None] * len(records)
    tables = [_by_style(corpus, name) for name in FILES]
    return [corpus / _another(tables, record, seed) for record in records]


def _another(tables: Sequence[dict[tuple, list[Record]]], record: Record, seed: int) -> str:
    message = record["messages"][0]
    for table in tables:
        others = [other for other in table.get(_key(message), ()) if other["text"] != message["text"]]
        if others:
            return str(random.Random(f"{seed} {record['id']}").choice(others)["rendering"]["audio"]["path"])
    return str(message["rendering"]["audio"]["path"])


def _by_style(corpus: Path, name: str) -> dict[tuple, list[Record]]:
    """The messages of a file's records by the style of their renderings."""
    found: dict[tuple, list[Record]] = defaultdict(list)
    for record in read_records(corpus / f"{name}.jsonl"):
        message = record["messages"][0]
        found[_key(message)].append(message)
    return found


def _key(message: Record) -> tuple:
    return tuple(sorted(message["rendering"]["style"].items()))
