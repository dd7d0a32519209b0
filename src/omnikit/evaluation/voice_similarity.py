"""Speaker similarity: how near an utterance is to natural speech of its own voice, and to that of others.

A fixed measure without weights, that no judged voice takes part in: features are standardised over natural speech, a
voice is the mean of its recordings, and two vectors are compared by their cosine.

Letters: N utterances, D features, V voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TINY = 1e-12


@dataclass(frozen=True)
class Similarity:
    """Cosines of utterances [N]: with their own voice, with the others on average, and with the closest other.

    NaN where that voice, or any other, has no recordings.
    """

    own: np.ndarray
    others: np.ndarray
    closest: np.ndarray


@dataclass(frozen=True)
class Voiceprints:
    """The `mean` and `deviation` [D] of features of natural speech, and a unit vector for every voice [V, D]."""

    mean: np.ndarray
    deviation: np.ndarray
    names: tuple[str, ...]
    vectors: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, voices: Sequence[str]) -> Voiceprints:
        """Learn from `features` [N, D] of natural recordings and the voice of each."""
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        deviation = np.where(deviation > _TINY, deviation, 1.0)
        standard, names = (features - mean) / deviation, tuple(sorted(set(voices)))
        own = [[voice == name for voice in voices] for name in names]
        return cls(mean, deviation, names, _unit(np.array([standard[rows].mean(axis=0) for rows in own])))

    def compare(self, features: np.ndarray, voices: Sequence[str]) -> Similarity:
        """How similar utterances with `features` [N, D] are to the `voices` [N] that they should be of."""
        cosines = _unit((features - self.mean) / self.deviation) @ self.vectors.T  # [N, V]
        own = np.array([[voice == name for name in self.names] for voice in voices])  # [N, V]
        num_own, num_others = own.sum(1), (~own).sum(1)
        closest = np.where(own, -np.inf, cosines).max(1)
        return Similarity(
            np.where(num_own > 0, (cosines * own).sum(1), np.nan),
            np.where(num_others > 0, (cosines * ~own).sum(1) / np.maximum(num_others, 1), np.nan),
            np.where(num_others > 0, closest, np.nan),
        )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)
