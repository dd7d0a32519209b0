"""Error rates and shares with confidence intervals over utterances.

A rate is Σ errors / Σ reference length (never a mean of ratios); its interval is a percentile bootstrap over
utterances, so it tells test-set variance, not training variance. A share of items has a score interval.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class Rate:
    """A share in [0, …) with its 95 % interval `low`–`high` over `num_items` utterances; NaN when there are none."""

    value: float
    low: float
    high: float
    num_items: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}] (n={self.num_items})"


def ratio(numerators: Sequence[float], denominators: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Rate:
    """Σ numerators / Σ denominators with a bootstrap interval over the items."""
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if len(top) == 0 or bottom.sum() == 0:
        return Rate(float("nan"), float("nan"), float("nan"), len(top))
    picks = np.random.default_rng(seed).integers(0, len(top), size=(resamples, len(top)))
    totals = bottom[picks].sum(axis=1)
    values = top[picks].sum(axis=1) / np.where(totals == 0, np.nan, totals)
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Rate(float(top.sum() / bottom.sum()), float(low), float(high), len(top))


def share(hits: Sequence[bool]) -> Rate:
    """The share of true items, with Wilson's score interval, which stays honest where all or none are true.

    Ref: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    num, z = len(hits), 1.959964
    if num == 0:
        return Rate(float("nan"), float("nan"), float("nan"), 0)
    value = sum(map(bool, hits)) / num
    centre = (value + z * z / (2 * num)) / (1 + z * z / num)
    half = z * (value * (1 - value) / num + z * z / (4 * num * num)) ** 0.5 / (1 + z * z / num)
    return Rate(value, max(0.0, centre - half), min(1.0, centre + half), num)


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """Levenshtein distance between two sequences (unit costs)."""
    return Levenshtein.distance(list(reference), list(hypothesis))


def error_rate(references: Sequence[Sequence[Hashable]], hypotheses: Sequence[Sequence[Hashable]]) -> Rate:
    """Edit distance over reference length, summed over utterances: PER on phones, WER on words."""
    errors = [edit_distance(ref, hyp) for ref, hyp in zip(references, hypotheses, strict=True)]
    return ratio(errors, [len(ref) for ref in references])


def words(text: str) -> list[str]:
    """Lower-case words without punctuation (the normalisation of every WER here)."""
    return re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split()
