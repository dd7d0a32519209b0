"""Judging a detokenizer: canonical units spoken in a style, against the recording of the same words in that style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from omnikit.evaluation.figures import Figure, Names, at_most, mean, percent, pick, summed, with_groups
from omnikit.evaluation.material import Record, chosen, ear_rate, phones_of, read_phones, spoken, units_of, waves_of
from omnikit.evaluation.references import asked_labels, references_of
from omnikit.metrics.prosody import median_pitch, semitones
from omnikit.metrics.rates import edit_distance, share
from omnikit.system import System

PART = "detokenizer"
FACTORS = ("gender", "emotion", "speed", "pitch")
DEAF = 50.0
"""Natural phone error in percent above which the ear hears too little for a difference to mean anything."""
FILES = {"voice.test": "seen styles", "voice.test_style": "held-out styles"}


@dataclass(frozen=True)
class RoundTrip:
    """One text, spoken by the detokenizer and as recorded in the same style.

    Phone errors are counts against `num_phones` labels; `pitch_error` in semitones is NaN where either has no pitch.
    `id` names its record, `voice` who speaks the recording.
    """

    style: Record
    num_phones: int
    errors: int
    natural_errors: int
    duration_ratio: float
    pitch_error: float
    has_pitch: bool
    id: str = ""
    voice: str = ""


def judge_detokenizer(system: System, corpus: Path, num_items: int, seed: int) -> list[Figure]:
    """Round-trip phone errors, durations and F0, for styles that training rendered and for those it never did."""
    figures = []
    for name, styles in FILES.items():
        trips = round_trips(system, corpus, chosen(corpus, name, num_items, seed), seed)
        figures += _figures(trips, name, styles)
    return figures


def round_trips(system: System, corpus: Path, records: Sequence[Record], seed: int) -> list[RoundTrip]:
    """Speak the canonical units of `voice` records in the style of their renderings and measure both.

    A style module that knows no labels is shown another recording in that style.
    """
    messages = [record["messages"][0] for record in records]
    renderings = [message["rendering"] for message in messages]
    units = units_of(system, waves_of(system, corpus, [message["audio"] for message in messages]))
    natural = waves_of(system, corpus, [rendering["audio"] for rendering in renderings])
    shown = references_of(system, corpus, records, seed)
    made = [
        spoken(system, row, asked_labels(record), seed, reference)
        for row, record, reference in zip(units, records, shown, strict=True)
    ]
    heard, natural_heard = read_phones(system, made), read_phones(system, natural)
    rate = ear_rate(system)
    trips = []
    for index, rendering in enumerate(renderings):
        phones = phones_of(rendering["audio"])
        pitch, natural_pitch = median_pitch(made[index], rate), median_pitch(natural[index], rate)
        apart = abs(semitones(pitch.median_hz, natural_pitch.median_hz))
        trips.append(
            RoundTrip(
                rendering["style"],
                len(phones),
                edit_distance(phones, heard[index]),
                edit_distance(phones, natural_heard[index]),
                len(made[index]) / len(natural[index]),
                apart,
                not math.isnan(pitch.median_hz),
                records[index]["id"],
                rendering["audio"].get("voice", ""),
            )
        )
    return trips


def _figures(trips: Sequence[RoundTrip], file: str, styles: str) -> list[Figure]:
    lengths = np.array([trip.num_phones for trip in trips])
    errors, natural = (np.array([getattr(trip, name) for trip in trips]) for name in ("errors", "natural_errors"))
    stretch = [100 * abs(trip.duration_ratio - 1) for trip in trips]
    labels = [trip.style for trip in trips]
    names = Names([trip.id for trip in trips], [trip.voice for trip in trips])

    def phone_error(indices: Sequence[int]) -> Figure:
        how = f"{file}: canonical recording → units → speech in the record's style → phones"
        items = names.items(pick(errors, indices), pick(lengths, indices), indices)
        return summed(PART, f"round-trip phone error, {styles}", items, how)

    def natural_error(indices: Sequence[int]) -> Figure:
        items = names.items(pick(natural, indices), pick(lengths, indices), indices)
        return summed(PART, f"natural phone error, {styles}", items, f"{file}: recording in the same style → phones")

    def gap(indices: Sequence[int]) -> Figure:
        items = names.items(pick(errors - natural, indices), pick(lengths, indices), indices)
        how = "round trip minus natural, paired, in points"
        figure = summed(PART, f"phone error above natural, {styles}", items, how, at_most(10.0))
        if natural_error(indices).value <= DEAF:
            return figure
        nan = float("nan")
        how = f"{how}; the tokenizer misses over {DEAF:g} % anyway"
        return replace(figure, value=nan, low=nan, high=nan, how=how, items=None)

    def duration(indices: Sequence[int]) -> Figure:
        how = "mean distance of duration ÷ natural duration from 1"
        own = pick(stretch, indices)
        items = names.items([value / 100 for value in own], indices=indices)
        return mean(PART, f"duration error, {styles}", own, how, "%", at_most(10.0), items)

    def pitch_error(indices: Sequence[int]) -> Figure:
        every = [trips[index].pitch_error for index in indices]
        known = [value for value in every if not math.isnan(value)]
        how = "mean distance of median F0 from the natural recording, where both have one"
        items = names.items(every, indices=indices)
        return mean(PART, f"F0 error, {styles}", known, how, "semitones", at_most(3.0), items)

    def has_pitch(indices: Sequence[int]) -> Figure:
        hits = [trips[index].has_pitch for index in indices]
        how = "5 voiced frames or more, 60–500 Hz"
        items = names.items(hits, indices=indices)
        return percent(PART, f"speech with a measurable F0, {styles}", share(hits), how, items=items)

    kinds = (phone_error, natural_error, gap, duration, pitch_error, has_pitch)
    return [figure for kind in kinds for figure in with_groups(kind, labels, FACTORS)]
