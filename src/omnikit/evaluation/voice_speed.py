"""How fast a detokenizer speaks: work for a second of sound, and how much of it stands before the first sound."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from omnikit.evaluation.figures import Figure, mean, quotient
from omnikit.evaluation.material import by_text, chosen, units_of, waves_of
from omnikit.evaluation.references import asked_labels, asked_style, how_shown, references_of
from omnikit.slots.detokenizer import Detokenizer
from omnikit.system import System
from omnikit.types import Audio, Style, Units

PART = "speed"
FILE = "voice.test"
TEXTS_SHARE = 8
"""Of `num_items` texts, every eighth is timed."""


@torch.no_grad()
def judge_speed(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Work for a second of sound and for the first sound, one utterance at a time, each timed at its second run."""
    records = chosen(corpus, FILE, math.ceil(num_items / TEXTS_SHARE), seed)
    messages, names = [record["messages"][0] for record in records], by_text(records)
    units = units_of(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    detokenizer, shown = system.part("detokenizer"), references_of(system, corpus, records, seed)
    work, first, sound = [], [], []
    for record, row, reference in zip(records, units, shown, strict=True):
        said = asked_style(system, asked_labels(record), reference)
        whole, seconds = _timed(partial(_whole, detokenizer, row, said, seed))
        work.append(seconds)
        sound.append(whole.seconds[0])
        first.append(_timed(partial(_first, detokenizer, row, said, seed))[1])
    setting = f"{torch.get_num_threads()} threads, {detokenizer.device.type}"
    waited_ms = [1000 * seconds for seconds in first]
    ratios = [
        quotient(PART, name, names.items(tops, bottoms), f"{FILE}: {how}{how_shown(system)}")
        for name, tops, bottoms, how in (
            ("real-time factor", work, sound, f"seconds of work a second of sound, {setting}"),
            ("first sound", first, work, "work until a stream's first piece ÷ work for the whole"),
        )
    ]
    how = f"{FILE}: work until a stream's first piece, on this machine, {setting}{how_shown(system)}"
    return [*ratios, mean(PART, "first sound, time", waited_ms, how, "ms", items=names.items(waited_ms))]


def _whole(detokenizer: Detokenizer, units: Units, style: Style, seed: int) -> Audio:
    return detokenizer.decode(units, style, torch.Generator().manual_seed(seed))


def _first(detokenizer: Detokenizer, units: Units, style: Style, seed: int) -> Audio:
    return next(detokenizer.stream(units, style, torch.Generator().manual_seed(seed)))


def _timed(run: Callable[[], Audio]) -> tuple[Audio, float]:
    """What `run` gives the second time, and how long that took in seconds."""
    run()
    started = time.perf_counter()
    return run(), time.perf_counter() - started
