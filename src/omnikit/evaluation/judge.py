"""Judging everything that a system has: each part by itself where its parts are there, then whole spoken answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnikit.data.corpus import CORPUS_FILE
from omnikit.errors import DataError, OmnikitError, unknown_name
from omnikit.evaluation.answers import judge_answers
from omnikit.evaluation.cascade import END_TO_END, check_way
from omnikit.evaluation.detokenizer import judge_detokenizer
from omnikit.evaluation.figures import Figure, unmeasured
from omnikit.evaluation.jointness import judge_jointness
from omnikit.evaluation.language import judge_language
from omnikit.evaluation.latency import judge_latency
from omnikit.evaluation.material import why_no_phones
from omnikit.evaluation.tokenizer import judge_tokenizer
from omnikit.evaluation.voice_control import judge_control
from omnikit.evaluation.voice_quality import judge_voice
from omnikit.evaluation.voice_speed import judge_speed
from omnikit.system import System

Judge = Callable[..., list[Figure]]
_SEEING = ("tokenizer", "vision_encoder", "projector", "backbone", "format")
_SPEAKING = ("tokenizer", "style", "detokenizer")
JUDGES: dict[str, tuple[Judge, tuple[str, ...]]] = {
    "tokenizer": (judge_tokenizer, ("tokenizer",)),
    "detokenizer": (judge_detokenizer, _SPEAKING),
    "voice": (judge_voice, _SPEAKING),
    "control": (judge_control, _SPEAKING),
    "speed": (judge_speed, _SPEAKING),
    "language": (judge_language, _SEEING),
    "spoken answers": (judge_answers, (*_SEEING, *_SPEAKING[1:])),
    "jointness": (judge_jointness, _SEEING),
    "latency": (judge_latency, (*_SEEING, *_SPEAKING[1:])),
}
"""What can be judged, by which function (system, corpus, number of items, seed), and the slots that it needs."""
BY_WAY = ("spoken answers", "latency")
"""Parts whose questions can be answered in several ways; their judges take it as `way`."""
BY_PHONES = ("detokenizer", "voice", "control")
"""Parts whose figures are phones that the tokenizer reads back."""


@dataclass(frozen=True)
class Judgement:
    """All figures, and what was left out with the slots that the system lacks for it."""

    figures: tuple[Figure, ...]
    left_out: dict[str, tuple[str, ...]]


def check_corpus(corpus: Path) -> None:
    """Raise `DataError` with the command that makes a corpus where there is none."""
    if not (corpus / CORPUS_FILE).is_file():
        raise DataError(
            f"There is no finished corpus in {corpus}: {CORPUS_FILE} is missing.\n"
            "Make the one that belongs to the tiny system:\n"
            f"  omnikit data make --out {corpus} --hours 40 --seed 1\n"
            "Another seed draws other test texts, which may be among those that the training saw.\n"
            "Or name one that exists: data.path=FOLDER"
        )


def judge_all(
    system: System,
    corpus: Path,
    *,
    num_items: int,
    seed: int,
    parts: Sequence[str] = (),
    answers: str = END_TO_END,
    progress: Callable[[str], None] | None = None,
) -> Judgement:
    """Run the judges `parts` (none: all) whose slots the system has; the same arguments give the same figures.

    Parts `speed` and `latency` alone measure time, which differs from run to run. `answers` is how spoken questions are
    answered (`cascade.WAYS`). `progress` is told what was judged and how long it took. Raises `DataError` without a
    corpus, `OmnikitError` for `num_items` below 1, `UnknownName` for a part that nobody judges, or another way.
    """
    check_way(answers)
    for name in parts:
        if name not in JUDGES:
            raise unknown_name("part to judge", name, JUDGES)
    check_corpus(corpus)
    if num_items < 1:
        raise OmnikitError(f"num_items is {num_items}; 1 or more are accepted, 200 give useful intervals.")
    figures: list[Figure] = []
    left_out = {}
    for name, (judge, slots) in JUDGES.items():
        if parts and name not in parts:
            continue
        missing = tuple(slot for slot in slots if slot not in system.parts)
        if missing:
            left_out[name] = missing
            continue
        why = why_no_phones(system) if name in BY_PHONES else ""
        if why:
            figures.append(unmeasured(name, "everything", why))
            continue
        started = time.perf_counter()
        if progress is not None:
            progress(f"judging {name}")
        figures += judge(system, corpus, num_items, seed, **({"way": answers} if name in BY_WAY else {}))
        if progress is not None:
            progress(f"judged {name} in {time.perf_counter() - started:.0f} s")
    return Judgement(tuple(figures), left_out)
