"""Accuracy that no frequent class outweighs, with intervals that know that one voice's utterances go together.

Letters: N answers, G clusters, C classes, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit  # quantiles of the normal and of Student's t; scipy.stats takes long to import

from omnikit.metrics.rates import Rate

RESAMPLES = 1000


def balanced_accuracy(
    labels: np.ndarray,
    predictions: np.ndarray,
    clusters: Sequence[str],
    *,
    confidence: float = 0.95,
    num_items: int | None = None,
    seed: int = 0,
) -> Rate:
    """The mean over classes of the share of a class's answers that are right; chance is one over the classes.

    Args:
        labels: the right class of every answer, [N].
        predictions: the class given, [N].
        clusters: what an answer belongs to, [N], e.g. its voice; whole clusters are resampled.
        confidence: of the interval, which is `clustered_ratio`'s.
        num_items: what the rate is said to be over; N when None.
    """
    hits = np.asarray(labels) == np.asarray(predictions)
    classes, index = np.unique(labels, return_inverse=True)
    kinds = np.eye(len(classes))[index]  # [N, C]
    return clustered_ratio(
        kinds * hits[:, None], kinds, clusters, confidence=confidence, num_items=num_items, seed=seed
    )


def clustered_ratio(
    tops: np.ndarray,
    bottoms: np.ndarray,
    clusters: Sequence[str],
    *,
    confidence: float = 0.95,
    num_items: int | None = None,
    seed: int = 0,
) -> Rate:
    """The mean over columns of Σ `tops` / Σ `bottoms`, both [N] or [N, C], with an interval over clusters.

    The interval is the value ± Student's quantile (G - 1 degrees of freedom) times the standard error of a bootstrap
    that draws whole clusters (Cameron, Gelbach and Miller 2008, section III), within 0 and 1. Where every answer is
    right, or none, the bootstrap has no spread; the interval is then Wilson's with the clusters as items. Fewer than
    two clusters give none (NaN).
    """
    count = len(clusters) if num_items is None else num_items
    if not len(clusters):
        return Rate(math.nan, math.nan, math.nan, 0)
    top, bottom = (np.asarray(part, dtype=float).reshape(len(clusters), -1) for part in (tops, bottoms))
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    num = len(names)
    top, bottom = (_sums(part, index, num) for part in (top, bottom))  # [G, C]
    value = float(_mean_ratio(top.sum(0), bottom.sum(0)))
    if num < 2 or math.isnan(value):
        return Rate(value, math.nan, math.nan, count)
    tail = (1 - confidence) / 2
    if value in (0.0, 1.0):
        z = float(ndtri(1 - tail))
        reach = z * z / (num + z * z)
        return Rate(value, max(0.0, value - reach), min(1.0, value + reach), count)
    draws = np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), size=RESAMPLES)  # [R, G]
    spread = float(np.nanstd(_mean_ratio(draws @ top, draws @ bottom))) * math.sqrt(num / (num - 1))
    reach = float(stdtrit(num - 1, 1 - tail)) * spread
    return Rate(value, max(0.0, value - reach), min(1.0, value + reach), count)


def _sums(values: np.ndarray, index: np.ndarray, num: int) -> np.ndarray:
    """Rows of `values` [N, C] added up by cluster [G, C]."""
    totals = np.zeros((num, values.shape[1]))
    np.add.at(totals, index, values)
    return totals


def _mean_ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Mean over the last axis of top / bottom where there is something to divide by."""
    there = bottom > 0
    ratios = np.where(there, top / np.where(there, bottom, 1.0), 0.0)
    num = there.sum(-1)
    return np.where(num > 0, ratios.sum(-1) / np.maximum(num, 1), np.nan)
