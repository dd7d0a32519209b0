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
from omnikit.evaluation.material import Record, chosen, ear_rate, spoken, units_of, waves_of
from omnikit.evaluation.references import asked_labels, asked_style, how_shown, references_of, shows_style
from omnikit.evaluation.voice_listener import NUM_BANDS, TRAIN_VOICES, VOICE, Listener, timbre, train_listener
from omnikit.evaluation.voice_similarity import Voiceprints
from omnikit.metrics.cepstra import mel_cepstra, timed_distance, warped_distance
from omnikit.metrics.rates import share
from omnikit.system import System
from omnikit.types import Style, Units

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
    """Mel-cepstral distances, what a small listener hears against what was asked for, and speaker similarity."""
    rows = speak_all(system, corpus, chosen(corpus, FILE, num_items, seed), seed)
    factors = system.part("style").factors
    if shows_style(system):  # what is asked for are the styles of the recordings that show them
        factors = dict.fromkeys(name for row in rows for name in row.labels)
    listener = train_listener(system, corpus, tuple(factors), LISTENER_ITEMS * num_items, seed)
    shown = how_shown(system)
    return [
        *_distances(rows, ear_rate(system), shown),
        *_heard(rows, listener, system, shown),
        *_similarities(rows, listener.voiceprints, ear_rate(system), shown),
    ]


def speak_all(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[Spoken]:
    """Speak the canonical units of `voice` records in the style of their renderings, twice.

    A style module that knows no labels is shown another recording in that style.
    """
    messages = [record["messages"][0] for record in records]
    units = units_of(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    natural = waves_of(system, corpus, [message["rendering"]["audio"] for message in messages])
    shown = references_of(system, corpus, records, seed)
    rows = []
    for record, row, wave, reference in zip(records, units, natural, shown, strict=True):
        message, labels = record["messages"][0], asked_labels(record)
        made = spoken(system, row, labels, seed, reference)
        timed = _timed(system, row, message, asked_style(system, labels, reference), seed)
        rows.append(Spoken(record["id"], labels, message["rendering"]["audio"]["voice"], made, timed, wave))
    return rows


@torch.no_grad()
def _timed(system: System, units: Units, message: Record, style: Style, seed: int) -> np.ndarray:
    """The wave [S] of `units` in `style` when every unit lasts as long as in the rendering."""
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
    audio = detokenizer.decode(units, style, torch.Generator().manual_seed(seed), durations)
    return resample(audio, ear_rate(system)).wave[0].cpu().numpy()


def _distances(rows: Sequence[Spoken], rate: int, shown: str) -> list[Figure]:
    warped, timed = [], []
    for row in rows:
        natural, active = mel_cepstra(row.natural, rate)
        warped.append(warped_distance(natural, mel_cepstra(row.made, rate)[0], active))
        timed.append(timed_distance(natural, mel_cepstra(row.timed, rate)[0], active))
    frames = "13 mel cepstra, level aside, over frames within 40 dB of the recording's loudest"
    names = _names(rows)
    return [
        mean(
            PART,
            f"mel-cepstral distance, {name}",
            values,
            f"{FILE}: {how}; {frames}{shown}",
            "dB",
            items=names.items(values),
        )
        for name, values, how in (
            ("time-warped", warped, "durations predicted"),
            ("true durations", timed, "durations of the recording"),
        )
    ]


def _names(rows: Sequence[Spoken]) -> Names:
    return Names([row.id for row in rows], [row.voice for row in rows])


def _similarities(rows: Sequence[Spoken], known: Voiceprints, rate: int, shown: str) -> list[Figure]:
    """Cosines of made and of natural speech with natural speech of the same voice, and what other voices have."""
    voices = [row.voice for row in rows]
    made, natural = (known.compare(timbre(waves, rate), voices) for waves in _both(rows))
    measure = f"timbre (mean and deviation of {NUM_BANDS} log-mels, standardised over natural speech)"
    how = f"{FILE}: cosine of {measure} with a voice's mean in {TRAIN_VOICES}"
    names, figures = _names(rows), []
    for name, values, what in (
        ("made speech", made.own, f"the same voice{shown}"),
        ("natural speech", natural.own, "the same voice: what recordings of other texts reach"),
        ("natural speech, other voices", natural.others, "mean over all other voices"),
        ("natural speech, closest other voice", natural.closest, "the other voice that is most like it"),
    ):
        measured = [float(value) for value in values if not np.isnan(value)]
        items = names.items(values.tolist())
        figures.append(mean(PART, f"speaker similarity, {name}", measured, f"{how}; {what}", "", items=items))
    return figures


def _both(rows: Sequence[Spoken]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What was made, and the recordings."""
    return [row.made for row in rows], [row.natural for row in rows]


def _heard(rows: Sequence[Spoken], listener: Listener, system: System, shown: str) -> list[Figure]:
    figures = []
    for factor in listener.probes:
        asked = [row.voice if factor == VOICE else row.labels[factor] for row in rows]
        what = "target voice among all training voices" if factor == VOICE else factor
        for kind, waves in zip(("made", "natural"), _both(rows), strict=True):
            heard = listener.hear(factor, waves, system)
            hits = [one == other for one, other in zip(asked, heard, strict=True)]
            how = f"{FILE}: by a linear listener fitted on the corpus's own recordings"
            how += shown if kind == "made" else ""
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
