"""What is judged, and how it passes through a system: chosen records, sound in batches, prompts in batches.

Letters: B batch, S samples, K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from omnikit.data.buckets import length_batches
from omnikit.data.media import load_audio, resample
from omnikit.data.phones import PHONE_INDEX
from omnikit.data.records import read_records, schema_problems
from omnikit.data.speech_batches import pad_audio
from omnikit.errors import DataError
from omnikit.evaluation.figures import Names
from omnikit.metrics.rates import edit_distance
from omnikit.slots.backbone import Segment
from omnikit.system import System
from omnikit.types import SpokenTurn, Units

BATCH_S = 60.0
BATCH_TOKENS = 4096
Record = Mapping[str, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


def chosen(corpus: Path, name: str, num_items: int, seed: int) -> list[Record]:
    """At most `num_items` records of the file `name` (e.g. `speech.test`), drawn by `seed`, in file order.

    Those that are drawn are held against the schema; raises `DataError` for one that breaks it.
    """
    records: list[Record] = list(read_records(corpus / f"{name}.jsonl", validate=False))
    if len(records) <= num_items:
        return checked(corpus, records)
    picks = np.random.default_rng([seed, *name.encode()]).choice(len(records), size=num_items, replace=False)
    return checked(corpus, [records[index] for index in sorted(picks)])


def checked(corpus: Path, records: list[Record]) -> list[Record]:
    """The records, each of which keeps the schema. Raises `DataError` for the first that does not."""
    for record in records:
        for field, what in schema_problems(record):
            raise DataError(f"{corpus}: record {record.get('id')}: {field}: {what}")
    return records


def by_voice(records: Sequence[Record]) -> Names:
    """Whom figures about the first messages of records are about: clusters are their voices, or else their pictures."""
    return Names([record["id"] for record in records], [_source(record) for record in records])


def by_text(records: Sequence[Record]) -> Names:
    """The same where a text alone goes in, or where one voice says them all: every text is a cluster of its own."""
    ids = [record["id"] for record in records]
    return Names(ids, ids)


def _source(record: Record) -> str:
    message = record["messages"][0]
    found = message.get("audio", {}).get("voice") or message.get("image", {}).get("path") or record["id"]
    return str(found)


def in_batches(
    items: Sequence[Item], size: Callable[[Item], float], limit: float, run: Callable[[list[Item]], Sequence[Result]]
) -> list[Result]:
    """`run` over all items, in batches of similar size with a padded size within `limit`; results in item order."""
    results: dict[int, Result] = {}
    for batch in length_batches([size(item) for item in items], limit):
        results.update(zip(batch, run([items[index] for index in batch]), strict=True))
    return [results[index] for index in range(len(items))]


def ear_rate(system: System) -> int:
    """The sample rate that the system's tokenizer hears at, in Hz."""
    tokenizer = system.part("tokenizer")
    return int(tokenizer.contract(**tokenizer.parameters_given).needs["audio"].sample_rate)


def waves_of(system: System, corpus: Path, audios: Sequence[Record]) -> list[np.ndarray]:
    """The waves [S] of audio entries, at the tokenizer's rate."""
    rate = ear_rate(system)
    return [load_audio(corpus / audio["path"], rate).wave[0].numpy() for audio in audios]


def phones_of(audio: Record) -> list[int]:
    """The phone labels of an audio entry as indices."""
    return [PHONE_INDEX[symbol] for symbol, _, _ in audio["phones"]]


def why_no_phones(system: System) -> str:
    """Why the system's tokenizer reads no phones of the corpus back; empty where it does."""
    tokenizer = system.part("tokenizer")
    if tokenizer.labels == "phones":
        return ""
    return f"not judged: this tokenizer learns from {tokenizer.labels} and reads no phones back"


@torch.no_grad()
def listened(system: System, waves: Sequence[np.ndarray]) -> list[list[Segment]]:
    """What the backbone reads of each wave: units, or features, and the tone before them where the system tells it."""
    hearing, rate = system.hearing, ear_rate(system)
    if hearing.sample_rate is None:
        return [[speech_segment(row)] for row in units_of(system, waves)]

    def run(rows: list[np.ndarray]) -> list[list[Segment]]:
        audio = pad_audio(rows, rate)
        units = None
        if hearing.reads_units:
            encoded = rows_of(system.part("tokenizer").encode(audio))
            units = [tuple(tuple(book) for book in row.codes[0].tolist()) for row in encoded]
        return [list(row) for row in hearing.read(lambda wanted: resample(audio, wanted), units)]

    return in_batches(waves, lambda wave: len(wave) / rate, BATCH_S, run)


@torch.no_grad()
def read_phones(system: System, waves: Sequence[np.ndarray]) -> list[list[int]]:
    """The phones that the tokenizer's diagnostic head reads from each wave."""
    tokenizer, rate = system.part("tokenizer"), ear_rate(system)

    def run(rows: list[np.ndarray]) -> list[list[int]]:
        return tokenizer.read_phones(pad_audio(rows, rate))

    return in_batches(waves, lambda wave: len(wave) / rate, BATCH_S, run)


@torch.no_grad()
def units_of(system: System, waves: Sequence[np.ndarray]) -> list[Units]:
    """The units of each wave, one row each."""
    tokenizer, rate = system.part("tokenizer"), ear_rate(system)

    def run(rows: list[np.ndarray]) -> list[Units]:
        return rows_of(tokenizer.encode(pad_audio(rows, rate)))

    return in_batches(waves, lambda wave: len(wave) / rate, BATCH_S, run)


def rows_of(units: Units) -> list[Units]:
    """A batch of units as single rows without padding."""
    rows = []
    for row, length in enumerate(units.lengths.tolist()):
        durations = None if units.durations is None else units.durations[row : row + 1, :length]
        codes = units.codes[row : row + 1, :, :length]  # [1, K, T]
        rows.append(replace(units, codes=codes, lengths=units.lengths[row : row + 1], durations=durations))
    return rows


def speech_segment(units: Units) -> Segment:
    """One row of units as something to be heard."""
    return Segment(units=tuple(tuple(row) for row in units.codes[0].tolist()))


def known_labels(system: System, labels: Mapping[str, str]) -> dict[str, str]:
    """Those of `labels` that the system's style module has; `style/none` has none."""
    factors = system.part("style").factors
    return {name: value for name, value in labels.items() if value in factors.get(name, ())}


def spoken(
    system: System, units: Units, labels: Mapping[str, str], seed: int, reference: Path | None = None
) -> np.ndarray:
    """The wave [S] of `units` at the tokenizer's rate, in the style `labels`, as far as the style module knows them.

    Where a `reference` recording is given, in its style instead.
    """
    style = known_labels(system, labels) if reference is None else None
    audio = resample(system.speak(units, style, reference=reference, seed=seed), ear_rate(system))
    return audio.wave[0, : int(audio.lengths[0])].cpu().numpy()


@torch.no_grad()
def write(system: System, task: str, users: Sequence[Sequence[Segment]], seed: int = 0) -> list[SpokenTurn]:
    """The system's greedy answers to what users show, say or type, in batches of similar length."""
    backbone, form = system.part("backbone"), system.part("format")
    prompts = [form.prompt(task, list(user)) for user in users]

    def run(batch: list[list[Segment]]) -> list[SpokenTurn]:
        generator = torch.Generator().manual_seed(seed)
        limit = system.max_new_tokens
        written = system.emitter.generate(backbone, batch, generator=generator, max_new_tokens=limit)
        return [form.parse(task, answer.text, backbone) for answer in written]

    return in_batches(prompts, lambda prompt: system.emitter.count_tokens(backbone, prompt), BATCH_TOKENS, run)


def same_words(reference: Sequence[str], hypothesis: Sequence[str]) -> bool:
    """Whether two word sequences differ in at most a tenth of the reference's words; nothing said never counts."""
    return bool(reference) and edit_distance(reference, hypothesis) <= 0.1 * len(reference)
