"""A spoken answer, and the clock that says how long each part took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omnikit.types import Audio, SpokenTurn, StyleSource

MAX_NEW_TOKENS = 400
"""Tokens that a reply takes at most."""


@dataclass(frozen=True)
class Reply:
    """A spoken answer: the turn, its sound, and seconds spent in each part.

    There is no sound (None) when the model wrote no units, or the system has no voice.

    `decided_by` says for every style factor whether `user`, `model` or `default` chose its value.
    """

    turn: SpokenTurn
    audio: Audio | None
    decided_by: Mapping[str, StyleSource] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The turn as JSON-ready data."""
        return {
            "user_text": self.turn.user_text,
            "text": self.turn.text,
            "style": dict(self.turn.style.labels[0]) if self.turn.style.labels else {},
            "style_decided_by": dict(self.decided_by),
            "num_units": int(self.turn.units.lengths[0]) if self.turn.units else 0,
            "valid": self.turn.parse_ok,
            "timings_s": {name: round(value, 4) for name, value in self.timings.items()},
        }


class Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
