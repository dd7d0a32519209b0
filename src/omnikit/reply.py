"""What is asked, the spoken answer, and the clock that says how long each part took."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from omnikit.style_policy import StylePolicy
from omnikit.types import Audio, Images, Labels, SpokenTurn, Style, StyleSource

MAX_NEW_TOKENS = 400
"""Tokens that a reply takes at most where a system does not say: 16 s of speech at 25 units/s, less the text."""

Heard = str | Path | Audio | None
Shown = str | Path | Images | Sequence[str | Path] | None


class Question(TypedDict, total=False):
    """What a user asks, as arguments of every call that replies: of `audio` and `text` one at least."""

    image: Shown
    """A picture, or several."""
    audio: Heard
    """The question as it was spoken."""
    text: str | None
    """The question as it was typed."""
    style: Labels | Style | StylePolicy | None
    """Labels that override what the model decides, factor by factor; a whole `Style`; or a policy that gives labels."""
    reference: Heard
    """A recording whose style is taken, instead of `style`."""


@dataclass(frozen=True)
class Reply:
    """A spoken answer: the turn, its sound, and seconds spent in each part.

    There is no sound (None) when the model wrote no units, or the system has no voice.

    `decided_by` says for every style factor whether `user`, `policy`, `model` or `default` chose its value, and
    `truncated` that `max_new_tokens` cut the reply short: the model would have gone on.
    """

    turn: SpokenTurn
    audio: Audio | None
    decided_by: Mapping[str, StyleSource] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    truncated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The turn as JSON-ready data."""
        return {
            "user_text": self.turn.user_text,
            "text": self.turn.text,
            "style": dict(self.turn.style.labels[0]) if self.turn.style.labels else {},
            "style_decided_by": dict(self.decided_by),
            "num_units": int(self.turn.units.lengths[0]) if self.turn.units else 0,
            "valid": self.turn.parse_ok,
            "truncated": self.truncated,
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
