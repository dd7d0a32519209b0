"""Quality of a detokenizer beside the phone error: distance to the recording, who and what is heard in it.

Letters: S samples, T units, K codebooks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from omnikit.data.media import resample
from omnikit.data.timing import warp_durations
from omnikit.evaluation.figures import Confusion, Figure, Names, mean, percent
from omnikit.evaluation.material import Record, chosen, ear_rate, known_labels, spoken, units_of, waves_of
from omnikit.evaluation.voice_listener import VOICE, Listener, train_listener
from omnikit.metrics.cepstra import mel_cepstra, timed_distance, warped_distance
from omnikit.metrics.rates import share
from omnikit.system import System
from omnikit.types import Units

PART = "voice"
FILE = "voice.test"
LISTENER_ITEMS = 4
"""The listener learns from this many times as many recordings as are judged."""


@dataclass(frozen=True)
class Spoken:
    """Units spoken in the style of a rendering: by predicted durations, by its own, and the natural recording itself.

    Waves [S] are at the tokenizer's rate. `id` names its record, `voice` who speaks the recording.
    """

    id: str
    labels: Mapping[str, str]
    voice: str
    made: np.ndarray
    timed: np.ndarray
    natural: np.ndarray


def judge_voice(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Mel-cepstral distances, what a small listener hears against what was asked for."""
    rows = speak_all(system, corpus, chosen(corpus, FILE, num_items, seed), seed)
    factors = tuple(system.part("style").factors)
    listener = train_listener(system, corpus, factors, LISTENER_ITEMS * num_items, seed)
    return [*_distances(rows, ear_rate(system)), *_heard(rows, listener, system)]


def speak_all(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[Spoken]:
    """Speak the canonical units of `voice` records in the style of their renderings, twice."""
    messages = [record["messages"][0] for record in records]
    units = units_of(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    natural = waves_of(system, corpus, [message["rendering"]["audio"] for message in messages])
    rows = []
    for record, row, wave in zip(records, units, natural, strict=True):
        message = record["messages"][0]
        labels, audio = message["rendering"]["style"], message["rendering"]["audio"]
        made, timed = spoken(system, row, labels, seed), _timed(system, row, message, labels, seed)
        rows.append(Spoken(record["id"], labels, audio["voice"], made, timed, wave))
    return rows


@torch.no_grad()
def _timed(system: System, units: Units, message: Record, labels: Mapping[str, str], seed: int) -> np.ndarray:
    """The wave [S] of `units` when every unit lasts as long as in the rendering."""
    detokenizer, rendering = system.part("detokenizer"), message["rendering"]["audio"]
    frame_s = detokenizer.hop_size / detokenizer.sample_rate
    lasts = np.ones(units.codes.shape[-1], dtype=int) if units.durations is None else units.durations[0].numpy()
    frames = warp_durations(
        message["audio"]["phones"],
        rendering["phones"],
        int(lasts.sum()),
        float(1 / units.rate),
        frame_s,
        max(1, round(rendering["duration_s"] / frame_s)),
    )
    starts = np.cumsum(lasts) - lasts
    durations = torch.from_numpy(np.add.reduceat(frames, starts))[None]  # [1, T]
    style = system.part("style").from_labels([known_labels(system, labels)])
    audio = detokenizer.decode(units, style, torch.Generator().manual_seed(seed), durations)
    return resample(audio, ear_rate(system)).wave[0].cpu().numpy()


def _distances(rows: Sequence[Spoken], rate: int) -> list[Figure]:
    warped, timed = [], []
    for row in rows:
        natural, active = mel_cepstra(row.natural, rate)
        warped.append(warped_distance(natural, mel_cepstra(row.made, rate)[0], active))
        timed.append(timed_distance(natural, mel_cepstra(row.timed, rate)[0], active))
    frames = "13 mel cepstra, level aside, over frames within 40 dB of the recording's loudest"
    names = _names(rows)
    return [
        mean(
            PART, f"mel-cepstral distance, {name}", values, f"{FILE}: {how}; {frames}", "dB", items=names.items(values)
        )
        for name, values, how in (
            ("time-warped", warped, "durations predicted"),
            ("true durations", timed, "durations of the recording"),
        )
    ]


def _names(rows: Sequence[Spoken]) -> Names:
    return Names([row.id for row in rows], [row.voice for row in rows])


def _heard(rows: Sequence[Spoken], listener: Listener, system: System) -> list[Figure]:
    figures = []
    for factor in listener.probes:
        asked = [row.voice if factor == VOICE else row.labels[factor] for row in rows]
        what = "target voice among all training voices" if factor == VOICE else factor
        for kind, waves in (("made", [row.made for row in rows]), ("natural", [row.natural for row in rows])):
            heard = listener.hear(factor, waves, system)
            hits = [one == other for one, other in zip(asked, heard, strict=True)]
            how = f"{FILE}: by a linear listener fitted on the corpus's own recordings"
            name, items = f"{what} recognised, {kind} speech", _names(rows).items(hits)
            figure = percent(PART, name, share(hits), how, items=items)
            figures.append(replace(figure, confusion=_counts(asked, heard)))
            figures += _confusions(factor, kind, asked, heard)
    return figures


def _counts(asked: Sequence[str], heard: Sequence[str]) -> Confusion:
    """How often each value that was asked for is heard as each other."""
    rows, columns = sorted(set(asked)), sorted({*asked, *heard})
    pairs = Counter(zip(asked, heard, strict=True))
    return Confusion(rows, columns, [[pairs[one, other] for other in columns] for one in rows])


def _confusions(factor: str, kind: str, asked: Sequence[str], heard: Sequence[str]) -> list[Figure]:
    """How often each value that was asked for is heard as each other: figures of a group `asked A, heard B`."""
    figures = []
    values = sorted({*asked, *heard})
    for value in sorted(set(asked)):
        own = [other for one, other in zip(asked, heard, strict=True) if one == value]
        for other in values:
            rate = share([item == other for item in own])
            group = f"asked {value}, heard {other}"
            figures.append(percent(PART, confusion_name(factor, kind), rate, "share of what was asked", group=group))
    return figures


def confusion_name(factor: str, kind: str) -> str:
    """The name that the cells of a confusion matrix share."""
    return f"{factor} heard in {kind} speech"
