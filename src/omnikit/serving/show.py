"""Everything that the demonstration found, in one record for the page that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omnikit.serving.demo import Answer, Figure, Take
from omnikit.serving.piece import Piece
from omnikit.serving.swaps import LiveTokenizer, StyleOff
from omnikit.wiring import Plan


@dataclass(frozen=True)
class Show:
    """One run of the demonstration.

    `about` says what ran where; `shown` are answers in full (the first of all that were measured); `spoken_text` is
    what `takes` say; `live` is None where nothing was trained.
    """

    about: Mapping[str, str]
    plan: Plan
    piece: Piece
    shown: tuple[Answer, ...]
    num_questions: int
    takes: tuple[Take, ...]
    spoken_text: str
    style_off: StyleOff
    live: LiveTokenizer | None
    figures: tuple[Figure, ...]
