"""How long a user waits: from the end of a spoken question to the first sound of the answer, one question at a time.

Letters: K codebooks, T units.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from omnikit.evaluation.cascade import CASCADE, END_TO_END
from omnikit.evaluation.figures import Figure, mean
from omnikit.evaluation.material import Record, by_voice, chosen
from omnikit.slots.backbone import Segment
from omnikit.system import System
from omnikit.types import SpokenTurn, Units

PART = "latency"
NAME = "first sound of an answer"
FILE = "dialogue.test"
QUESTIONS_SHARE = 16
"""Of `num_items` questions, every sixteenth is timed."""


def judge_latency(system: System, corpus: Path, num_items: int, seed: int, way: str = END_TO_END) -> list[Figure]:
    """Seconds until the first sound, mean over questions; answers without sound have none. The first is asked twice."""
    records = chosen(corpus, FILE, math.ceil(num_items / QUESTIONS_SHARE), seed)
    first_sound_s(system, corpus, records[0], seed, way)
    seconds = [first_sound_s(system, corpus, record, seed, way) for record in records]
    known = [value for value in seconds if not math.isnan(value)]
    setting = f"{torch.get_num_threads()} threads, {system.part('backbone').device.type}"
    how = f"{FILE}: from the end of a spoken question about a picture, {way.replace('_', ' ')}; {setting}"
    return [mean(PART, NAME, known, how, "s", items=by_voice(records).items(seconds))]


@torch.no_grad()
def first_sound_s(system: System, corpus: Path, record: Record, seed: int, way: str) -> float:
    """Seconds from a recorded question and its picture to the first sound of the answer; NaN where there is none.

    A cascade hands on each text as soon as it is whole; units that it writes beside its answer are not waited for.
    """
    message = record["messages"][0]
    clock = _Clock()
    picture = Segment(frames=system.see(corpus / message["image"]["path"]))
    heard: Sequence[Segment] = system.listen(corpus / message["audio"]["path"])
    if way == CASCADE:
        heard = [Segment(text=_last(written(system, "asr", heard, seed)).text)]
    turns = written(system, "dialogue", [picture, *heard], seed)
    pieces: Iterator[tuple[SpokenTurn, Units]]
    if way == CASCADE:
        answer = clock.settled(turns)
        turns = written(system, "tts", [Segment(text=answer.text)], seed) if answer.text else iter(())
        pieces = ((answer, units) for _, units in new_units(turns))
    else:
        pieces = new_units(turns)
    first = next(pieces, None)
    if first is None:
        return math.nan
    style, _ = system.decided(first[0], {})
    units = _chain(first[1], (piece for _, piece in pieces))
    next(iter(system.part("detokenizer").stream(units, style, torch.Generator().manual_seed(seed))))
    return clock.seconds()


def written(system: System, task: str, user: Sequence[Segment], seed: int) -> Iterator[SpokenTurn]:
    """The system's greedy answer as far as it is written, piece by piece."""
    backbone, form, raw = system.part("backbone"), system.part("format"), ""
    for piece in system.emitter.stream(
        backbone,
        form.prompt(task, list(user)),
        generator=torch.Generator().manual_seed(seed),
        max_new_tokens=system.max_new_tokens,
        temperature=0.0,
    ):
        raw += piece
        yield form.parse(task, raw, backbone)


def new_units(turns: Iterable[SpokenTurn]) -> Iterator[tuple[SpokenTurn, Units]]:
    """Every turn that has more units than the one before it, and those units [1, K, T]."""
    num = 0
    for turn in turns:
        if turn.units is not None and int(turn.units.lengths[0]) > num:
            codes = turn.units.codes[:, :, num : int(turn.units.lengths[0])]  # [1, K, T]
            num += codes.shape[-1]
            yield turn, replace(turn.units, codes=codes, lengths=torch.tensor([codes.shape[-1]]))


def _last(turns: Iterable[SpokenTurn]) -> SpokenTurn:
    found = SpokenTurn(text="")
    for found in turns:  # noqa: B007
        continue
    return found


def _chain(first: Units, rest: Iterator[Units]) -> Iterator[Units]:
    yield first
    yield from rest


class _Clock:
    """Seconds since it was made, less those in which what nobody waits for was written."""

    def __init__(self) -> None:
        self.started, self.unasked = time.perf_counter(), 0.0

    def seconds(self) -> float:
        return time.perf_counter() - self.started - self.unasked

    def settled(self, turns: Iterable[SpokenTurn]) -> SpokenTurn:
        """The last of `turns`; time after its words and style stood does not count."""
        found, stood = SpokenTurn(text=""), time.perf_counter()
        for turn in turns:
            if (turn.text, turn.style.labels) != (found.text, found.style.labels):
                stood = time.perf_counter()
            found = turn
        self.unasked += time.perf_counter() - stood
        return found
