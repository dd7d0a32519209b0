"""Texts spoken in every style, to listen to.

Letters: S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnikit.evaluation.material import chosen, ear_rate, spoken, units_of, waves_of
from omnikit.evaluation.voice_control import FILE, changes, default_styles
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
    messages = [record["messages"][0] for record in chosen(corpus, FILE, num_texts, seed)]
    waves = waves_of(system, corpus, [message["audio"] for message in messages])
    factors = system.part("style").factors
    found = []
    for message, wave, units in zip(messages, waves, units_of(system, waves), strict=True):
        takes = []
        for default in default_styles(factors):
            for name, value in [("", ""), *changes(factors)]:
                labels = {**default, name: value} if name else default
                takes.append(NamedTake(_words(default, f"{name}={value}"), spoken(system, units, labels, seed)))
        found.append(Reading(message["text"], ear_rate(system), wave, takes))
    return found


def _words(default: dict[str, str], change: str) -> str:
    said = [default["gender"]] if "gender" in default else []
    said += [change] if change != "=" else ["default style"]
    return ", ".join(said)
