"""A small fresh piece of corpus: questions about pictures and utterances by voices that no training heard.

Its texts fall under the same split rule as those of the shipped system's corpus (same seed of the rule, records
numbered far beyond it), so a text of a test split here was in no training there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnikit.data.espeak import Espeak
from omnikit.data.recipes import Job, Studio, make_record

SPLIT_SEED = 1
"""Seed of the corpus that the shipped system was trained on; texts are split by it."""
_FIRST, _SPAN = 500_000, 10_000

Record = Mapping[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Piece:
    """A folder with media, and the records: `questions` and `utterances` of held-out voices, `lessons` to train on."""

    folder: Path
    questions: tuple[Record, ...]
    utterances: tuple[Record, ...]
    lessons: tuple[Record, ...]

    @property
    def seconds(self) -> float:
        """Seconds of speech in all recordings."""
        records = (*self.questions, *self.utterances, *self.lessons)
        return sum(m["audio"]["duration_s"] for record in records for m in record["messages"] if "audio" in m)

    @property
    def voices(self) -> tuple[str, ...]:
        """The held-out voices that speak, in the order in which they are first heard."""
        records = (*self.questions, *self.utterances)
        return tuple(dict.fromkeys(record["messages"][0]["audio"]["voice"] for record in records))


def make_piece(
    folder: Path, seed: int, *, num_questions: int, num_utterances: int, num_lessons: int, progress: Progress
) -> Piece:
    """Draw and synthesise the records; another `seed` gives other ones. `progress` is called with (done, in all)."""
    studio = Studio(folder, SPLIT_SEED, Espeak())
    first = _FIRST + _SPAN * seed
    wanted = (
        ("dialogue", "test_voice", num_questions),
        ("speech", "test_voice", num_utterances),
        ("speech", "train", num_lessons),
    )
    total, done = num_questions + num_utterances + num_lessons, 0
    made: list[tuple[Record, ...]] = []
    for kind, split, count in wanted:
        records = []
        for index in range(first, first + count):
            records.append(make_record(studio, Job(kind, split, index)))
            done += 1
            progress(done, total)
        made.append(tuple(records))
    return Piece(folder, *made)
