"""How much of a unit vocabulary speech uses: shares, entropy, perplexity; runs of units, and how far two lie apart.

Letters: K codebooks, T units, U utterances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnikit.errors import OmnikitError
from omnikit.metrics.rates import edit_distance

NUM_GROUPS = 20


@dataclass(frozen=True)
class UnitUse:
    """`used` is the share of all entries that occur; `bits` the entropy of a step (all K codebooks) in bits.

    `bits_low`–`bits_high` is a 95 % interval over utterances, NaN for fewer than two; `bits_corrected` is the entropy
    with Miller's and Madow's correction of its bias.
    """

    used: float
    bits: float
    bits_low: float
    bits_high: float
    bits_corrected: float
    num_codebooks: int
    num_steps: int

    def perplexity(self, bits: float) -> float:
        """Entropy as the number of equally likely units of one codebook."""
        return 2.0 ** (bits / self.num_codebooks)


def unit_use(utterances: Sequence[np.ndarray], sizes: Sequence[int]) -> UnitUse:
    """Use of codebooks of `sizes` [K] by `utterances`, each of ids [K, T].

    Entropy is of single units (no context), by plug-in, which is too low where units are many and steps are few; the
    codebooks' entropies are added up as if they told nothing of each other, which is too high where they do. Its
    interval is ± 1.96 jackknife standard errors, leaving out one of 20 groups of utterances at a time
    (Efron and Tibshirani 1993, chapter 11). Raises `OmnikitError` for no steps at all or ids out of range.
    """
    num_steps = sum(codes.shape[1] for codes in utterances)
    if num_steps == 0:
        raise OmnikitError("There are no units to count.")
    groups = min(NUM_GROUPS, len(utterances))
    counts = [np.zeros((groups, size), dtype=np.int64) for size in sizes]  # K times [groups, size]
    for number, codes in enumerate(utterances):
        for row, size, table in zip(codes, sizes, counts, strict=True):
            if len(row) and (row.min() < 0 or row.max() >= size):
                raise OmnikitError(f"Unit ids must lie in 0..{size - 1}; found {row.min()}..{row.max()}.")
            table[number % groups] += np.bincount(row, minlength=size)
    totals = [table.sum(axis=0) for table in counts]
    bits = sum(map(entropy_bits, totals))
    error = math.nan
    if groups > 1:
        left = np.array(
            [
                sum(entropy_bits(all_ - table[g]) for all_, table in zip(totals, counts, strict=True))
                for g in range(groups)
            ]
        )
        error = math.sqrt((groups - 1) / groups * float(((left - left.mean()) ** 2).sum()))
    used = sum(int((total > 0).sum()) for total in totals) / sum(sizes)
    corrected = sum(map(miller_madow_bits, totals))
    return UnitUse(used, bits, bits - 1.96 * error, bits + 1.96 * error, corrected, len(sizes), num_steps)


def miller_madow_bits(counts: np.ndarray) -> float:
    """Entropy in bits of what was counted, plus the first term of the plug-in's bias: (m - 1) / (2 N) nats.

    m is how many of `counts` are above 0, N their sum. Still a lower bound in tendency where most entries that could
    occur have not been seen. Ref: G. A. Miller, "Note on the bias of information estimates", 1955.
    """
    seen, total = int((counts > 0).sum()), int(counts.sum())
    return entropy_bits(counts) + (seen - 1) / (2 * total * math.log(2)) if total else 0.0


def merged_runs(codes: np.ndarray, durations: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal steps of `codes` [K, T] merged: codes [K, T'] and their lengths in frames [T'].

    `durations` [T] counts the frames of steps that were merged before; a step is equal when all K ids are.
    """
    frames = np.ones(codes.shape[1], dtype=np.int64) if durations is None else np.asarray(durations, dtype=np.int64)
    if not codes.shape[1]:
        return codes, frames
    starts = np.flatnonzero(np.append(True, (codes[:, 1:] != codes[:, :-1]).any(axis=0)))
    return codes[:, starts], np.add.reduceat(frames, starts)


def unit_edit_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Edits that turn the merged runs of `one` [K, T] into those of `other`, over the longer one's length: 0 to 1.

    A step is equal when all K ids are. Ref: Gat et al., "Augmentation Invariant Discrete Representation for Generative
    Spoken Language Modeling", 2023 (there over the original's length, which may exceed 1).
    """
    rows = [[tuple(step) for step in merged_runs(codes)[0].T.tolist()] for codes in (one, other)]
    longest = max(len(row) for row in rows)
    return edit_distance(*rows) / longest if longest else 0.0


def entropy_bits(counts: np.ndarray) -> float:
    """Entropy in bits of what was counted, by plug-in; 0 where nothing was."""
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(shares * np.log2(shares)).sum())
