"""Texts spoken in every style, to listen to.

Letters: S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnikit.evaluation.material import chosen, ear_rate, spoken, units_of, waves_of
from omnikit.evaluation.voice_control import FILE, Manner, Manners, speaker_of
from omnikit.system import System


@dataclass(frozen=True)
class NamedTake:
    """A wave [S] and the style that it is spoken in, in words."""

    name: str
    wave: np.ndarray


@dataclass(frozen=True)
class Reading:
    """A text, the recording [S] that its units are from, and the takes; all at `sample_rate` Hz."""

    text: str
    sample_rate: int
    source: np.ndarray
    takes: Sequence[NamedTake]


def readings(system: System, corpus: Path, num_texts: int, seed: int) -> list[Reading]:
    """`num_texts` texts that no training saw, in the default style of every speaker and with every single change."""
    records, wanted = chosen(corpus, FILE, num_texts, seed), Manners(system, corpus)
    messages = [record["messages"][0] for record in records]
    waves = waves_of(system, corpus, [message["audio"] for message in messages])
    found = []
    for record, wave, units in zip(records, waves, units_of(system, waves), strict=True):
        takes = [
            NamedTake(_words(manner), spoken(system, units, manner.labels, seed, manner.reference))
            for manners in wanted.of(record, seed)
            for manner in manners
        ]
        found.append(Reading(record["messages"][0]["text"], ear_rate(system), wave, takes))
    return found


def _words(manner: Manner) -> str:
    return ", ".join(filter(None, (speaker_of(manner.labels), manner.change or "default style")))
