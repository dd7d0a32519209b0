"""Figures of units by themselves: how much of the vocabulary is used, what it costs, how it goes with phones, how
stable it is when the sound is disturbed.

Letters: S samples, K codebooks, T units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soxr

from omnikit.evaluation.figures import Figure, Target, UseCounts, percent
from omnikit.evaluation.hearing import Heard
from omnikit.evaluation.material import Record, ear_rate, units_of, waves_of
from omnikit.metrics.clustered import clustered_ratio
from omnikit.metrics.codebooks import UnitUse, merged_runs, unit_edit_distance, unit_use
from omnikit.metrics.phonetics import Estimate, phonetic_units
from omnikit.metrics.rates import Rate
from omnikit.system import System

PART = "tokenizer"
NAN = math.nan


def use_figures(heard: Sequence[Heard], target: Target | None = None) -> list[Figure]:
    """Share of the vocabulary used, perplexity, and bit rates: nominal, of units, of merged units and their lengths."""
    sizes, rate, num = heard[0].sizes, heard[0].unit_rate, len(heard)
    seconds = sum(item.seconds for item in heard)
    use = unit_use([item.codes for item in heard], sizes)
    counted = f"{use.num_steps} units of {num} utterances"
    bounds = (use.bits, use.bits_low, use.bits_high)
    likely, likely_low, likely_high = (use.perplexity(bits) for bits in bounds)
    corrected = use.perplexity(use.bits_corrected)
    nominal = rate * float(np.log2(sizes).sum())
    spent, spent_low, spent_high = (use.num_steps / seconds * bits for bits in bounds)
    runs = [merged_runs(item.codes, item.durations) for item in heard]
    content = unit_use([codes for codes, _ in runs], sizes)
    lengths = unit_use([durations[None] for _, durations in runs], [1 + max(int(own.max()) for _, own in runs)])
    occurring = f"entries that occur in {counted}; a count, without interval"
    plug_in = f"2^entropy of {counted}, a codebook (plug-in: a lower bound)"
    return [
        Figure(PART, "codebook used", 100 * use.used, NAN, NAN, num, occurring, "%", target, use=use_counts(heard)),
        Figure(PART, "codebook perplexity", likely, likely_low, likely_high, num, plug_in, ""),
        Figure(PART, "codebook perplexity, corrected", corrected, NAN, NAN, num, "the same, Miller–Madow", ""),
        Figure(PART, "bit rate, nominal", nominal, NAN, NAN, num, f"{rate:g} Hz × log2 of {list(sizes)}", "bit/s"),
        Figure(
            PART,
            "bit rate, entropy",
            spent,
            spent_low,
            spent_high,
            num,
            f"units a second × entropy of {counted}",
            "bit/s",
        ),
        _runs_figure("bit rate, content", content, seconds, num, "runs a second × entropy of merged units"),
        _runs_figure(
            "bit rate, run lengths", lengths, seconds, num, "side information: runs a second × entropy of their lengths"
        ),
    ]


def use_counts(heard: Sequence[Heard]) -> UseCounts:
    """How often the entries of every codebook occur."""
    every = np.concatenate([item.codes for item in heard], axis=1)  # [K, T]
    counts = [np.sort(np.unique(row, return_counts=True)[1])[::-1].tolist() for row in every]
    return UseCounts(list(heard[0].sizes), counts)


def _runs_figure(name: str, use: UnitUse, seconds: float, num: int, how: str) -> Figure:
    spent, low, high = (use.num_steps / seconds * bits for bits in (use.bits, use.bits_low, use.bits_high))
    return Figure(PART, name, spent, low, high, num, how, "bit/s")


def phonetic_figures(heard: Sequence[Heard]) -> list[Figure]:
    """PNMI and purities of every codebook; none where no utterance has timed phones."""
    labelled = [item for item in heard if item.spans]
    if not labelled:
        return []
    figures = []
    num_books = len(labelled[0].sizes)
    for book in range(num_books):
        units = [item.by_frame(item.codes[book]) for item in labelled]
        phones = [item.phones(len(own), item.unit_rate) for item, own in zip(labelled, units, strict=True)]
        found = phonetic_units(phones, units, [item.voice for item in labelled])
        which = f", codebook {book + 1}" if num_books > 1 else ""
        over = f"over {found.num_frames} frames that lie in a phone"
        rows: list[tuple[str, Estimate, str]] = [
            ("PNMI", found.pnmi, f"I(phone; unit) / H(phone) {over} (plug-in: too high where units are many)"),
            ("PNMI, corrected", found.pnmi_corrected, "the same, Miller–Madow in each entropy"),
            ("phone purity", found.phone_purity, f"frames whose phone is the commonest of their unit, {over}"),
            ("cluster purity", found.cluster_purity, f"frames whose unit is the commonest of their phone, {over}"),
        ]
        for name, estimate, how in rows:
            rate = Rate(estimate.value, estimate.low, estimate.high, len(labelled))
            figures.append(percent(PART, name + which, rate, how))
    return figures


def stability_figures(
    system: System,
    corpus: Path,
    records: Sequence[Record],
    heard: Sequence[Heard],
    *,
    snrs_db: Sequence[float],
    gains_db: Sequence[float],
    speeds: Sequence[float],
    seed: int,
) -> list[Figure]:
    """Share of units that stay when noise is added and speed or level change: 1 - unit edit distance of merged runs."""
    waves = waves_of(system, corpus, [record["messages"][0]["audio"] for record in records])
    figures = []
    for name, how, change in disturbances(ear_rate(system), snrs_db, gains_db, speeds, seed):
        units = units_of(system, [change(wave) for wave in waves])
        kept = [
            1 - unit_edit_distance(own.codes, row.codes[0].cpu().numpy()) for own, row in zip(heard, units, strict=True)
        ]
        rate = clustered_ratio(np.array(kept), np.ones(len(kept)), [item.voice for item in heard])
        figures.append(percent(PART, f"units kept, {name}", rate, f"1 - unit edit distance of merged runs; {how}"))
    return figures


Change = Callable[[np.ndarray], np.ndarray]


def disturbances(
    sample_rate: int, snrs_db: Sequence[float], gains_db: Sequence[float], speeds: Sequence[float], seed: int
) -> Iterator[tuple[str, str, Change]]:
    """Name, description and function [S] → [S'] of every disturbance."""
    for snr in snrs_db:
        rng = np.random.default_rng([seed, round(1000 * abs(snr))])
        yield f"noise at {snr:g} dB", "white noise at that signal-to-noise ratio", partial(noisy, snr_db=snr, rng=rng)
    for speed in speeds:
        how = "resampled, so tempo, pitch and formants move together"
        yield f"speed × {speed:g}", how, partial(_faster, sample_rate=sample_rate, speed=speed)
    for gain in gains_db:
        yield f"level {gain:+g} dB", "without clipping", partial(_louder, gain_db=gain)


def noisy(wave: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """`wave` [S] with white noise whose power lies `snr_db` below its own."""
    level = float(np.sqrt(np.mean(wave**2))) * 10 ** (-snr_db / 20)
    return (wave + level * rng.standard_normal(len(wave))).astype(np.float32)


def _faster(wave: np.ndarray, sample_rate: int, speed: float) -> np.ndarray:
    return soxr.resample(wave, sample_rate * speed, sample_rate).astype(np.float32)


def _louder(wave: np.ndarray, gain_db: float) -> np.ndarray:
    return (wave * 10 ** (gain_db / 20)).astype(np.float32)
