"""How much of a unit vocabulary speech uses: shares, entropy, perplexity.

Letters: K codebooks, T units, U utterances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnikit.errors import OmnikitError

NUM_GROUPS = 20


@dataclass(frozen=True)
class UnitUse:
    """`used` is the share of all entries that occur; `bits` the entropy of a step (all K codebooks) in bits.

    `bits_low`–`bits_high` is a 95 % interval over utterances, NaN for fewer than two.
    """

    used: float
    bits: float
    bits_low: float
    bits_high: float
    num_codebooks: int
    num_steps: int

    def perplexity(self, bits: float) -> float:
        """Entropy as the number of equally likely units of one codebook."""
        return 2.0 ** (bits / self.num_codebooks)


def unit_use(utterances: Sequence[np.ndarray], sizes: Sequence[int]) -> UnitUse:
    """Use of codebooks of `sizes` [K] by `utterances`, each of ids [K, T].

    Entropy is of single units (no context), by plug-in, which is too low where units are many and steps are few. Its
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
    bits = sum(map(_entropy_bits, totals))
    error = math.nan
    if groups > 1:
        left = np.array(
            [
                sum(_entropy_bits(all_ - table[g]) for all_, table in zip(totals, counts, strict=True))
                for g in range(groups)
            ]
        )
        error = math.sqrt((groups - 1) / groups * float(((left - left.mean()) ** 2).sum()))
    used = sum(int((total > 0).sum()) for total in totals) / sum(sizes)
    return UnitUse(used, bits, bits - 1.96 * error, bits + 1.96 * error, len(sizes), num_steps)


def _entropy_bits(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(shares * np.log2(shares)).sum())
