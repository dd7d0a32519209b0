"""The views that probes get of an utterance: units, single codebooks, run lengths, features, log-mels.

Letters: T frames, D width, U units, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnikit.evaluation.hearing import Heard
from omnikit.metrics.codebooks import merged_runs
from omnikit.metrics.probes import pooled

UNITS, RUNS, FEATURES, MELS = "units", "run lengths", "features", "log-mels"
MAX_LEVELS = 16
MAX_RUN = 16


@dataclass(frozen=True)
class View:
    """One way to look at all utterances, training ones first.

    `vectors` holds what linear probes of whole utterances read, by reader: [N, D] each; `sequences` [T, D] are for
    sequence probes (empty: none); `frames` [T', D'] at `frame_rate` Hz and, where they are discrete, `books` (K arrays
    [T'] of ids an utterance), are for probes of phones (empty: none).
    """

    name: str
    vectors: dict[str, np.ndarray]
    sequences: Sequence[np.ndarray] = ()
    frames: Sequence[np.ndarray] = ()
    frame_rates: Sequence[float] = ()
    books: Sequence[np.ndarray] = ()


def views_of(train: Sequence[Heard], test: Sequence[Heard]) -> list[View]:
    """Every view that the tokenizer offers, of the training utterances and then of the test ones."""
    heard = [*train, *test]
    vectors = [item.vectors for item in heard]
    digits = digits_of(vectors)
    sequences = vectors if digits is None else [np.hstack(pair) for pair in zip(vectors, digits, strict=True)]
    readers = {"pooled": _pooled(vectors), "unit histogram": _histograms([item.codes for item in heard], len(train))}
    if digits is not None:
        readers["digit histogram"] = np.stack([item.mean(0) for item in digits])
    unit_rates = [item.unit_rate for item in heard]
    views = [
        View(
            UNITS,
            readers,
            sequences,
            [item.by_frame(own) for item, own in zip(heard, sequences, strict=True)],
            unit_rates,
            [item.by_frame(item.codes.T).T for item in heard],
        )
    ]
    for book in range(len(heard[0].book_vectors)):
        own = [item.book_vectors[book] for item in heard]
        histogram = _histograms([item.codes[book : book + 1] for item in heard], len(train))
        frames = [item.by_frame(part) for item, part in zip(heard, own, strict=True)]
        ids = [item.by_frame(item.codes[book])[None] for item in heard]
        views.append(
            View(
                f"codebook {book + 1}",
                {"pooled": _pooled(own), "unit histogram": histogram},
                (),
                frames,
                unit_rates,
                ids,
            )
        )
    views.append(View(RUNS, {"histogram": np.stack([_run_histogram(item) for item in heard])}))
    features = [item.features for item in heard if item.features is not None]
    if len(features) == len(heard):
        rates = [item.feature_rate for item in heard]
        views.append(View(FEATURES, {"pooled": _pooled(features)}, features, features, rates))
    mels = [item.mels for item in heard]
    views.append(View(MELS, {"pooled": _pooled(mels)}, mels, mels, [item.mel_rate for item in heard]))
    return views


def digits_of(vectors: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """One-hot digits [T, sum L] of vectors [T, D] whose every dimension takes at most 16 values (FSQ); else None."""
    stacked = np.concatenate(list(vectors))
    levels = []
    for column in stacked.T:
        values = np.unique(column)
        if len(values) > MAX_LEVELS:
            return None
        levels.append(values)
    return [
        np.hstack([(own[:, [dim]] == values).astype(np.float32) for dim, values in enumerate(levels)])
        for own in vectors
    ]


def _pooled(frames: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([pooled(own.astype(np.float64)) for own in frames])


def _histograms(codes: Sequence[np.ndarray], num_train: int) -> np.ndarray:
    """Square roots of the shares of each unit that training has, codebook beside codebook: [N, sum U]."""
    parts = []
    for book in range(codes[0].shape[0]):
        known = np.unique(np.concatenate([own[book] for own in codes[:num_train]]))
        table = np.zeros((len(codes), len(known)))
        for row, own in zip(table, codes, strict=True):
            place = np.searchsorted(known, own[book]).clip(max=len(known) - 1)
            found = place[known[place] == own[book]]
            row += np.bincount(found, minlength=len(known)) / max(len(own[book]), 1)
        parts.append(np.sqrt(table))
    return np.hstack(parts)


def _run_histogram(item: Heard) -> np.ndarray:
    """Shares of runs of 1, 2, … 16 or more frames, the mean run, and runs a second."""
    runs = merged_runs(item.codes, item.durations)[1]
    shares = np.bincount(np.minimum(runs, MAX_RUN), minlength=MAX_RUN + 1)[1:] / max(len(runs), 1)
    return np.concatenate([shares, [runs.mean(), len(runs) / item.seconds]])
