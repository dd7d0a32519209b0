"""Linear probes: what a plain classifier can read from pooled features.

Letters: N examples, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from omnikit.errors import OmnikitError

PENALTY = 1e-3
NUM_SHUFFLES = 20


@dataclass(frozen=True)
class Examples:
    """`features` [N, D] with their two-valued `labels` [N]."""

    features: np.ndarray
    labels: np.ndarray


def pooled(frames: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over time of `frames` [T, D] → [2 D]."""
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def probe_hits(train: Examples, test: Examples) -> np.ndarray:
    """Whether a logistic regression that was fitted on `train` is right, for every example of `test`: [N] bool.

    Features are standardised by the training examples; the weights (not the intercept) carry an L2 penalty.
    Raises `OmnikitError` where the shapes do not fit, a feature is not finite or training lacks one of the labels.
    """
    _check(train, test)
    mean, deviation = train.features.mean(axis=0), train.features.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    inputs = np.column_stack([(train.features - mean) / deviation, np.ones(len(train.features))])  # [N, D + 1]
    targets = train.labels.astype(float)
    penalised = np.append(np.full(inputs.shape[1] - 1, PENALTY), 0.0)

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = inputs @ weights  # [N]
        loss = np.mean(np.logaddexp(0.0, scores) - targets * scores) + 0.5 * np.sum(penalised * weights**2)
        return float(loss), inputs.T @ (expit(scores) - targets) / len(targets) + penalised * weights

    weights = minimize(objective, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    scores = ((test.features - mean) / deviation) @ weights[:-1] + weights[-1]  # [N]
    return (scores > 0) == test.labels.astype(bool)


def shuffled_hits(train: Examples, test: Examples, rng: np.random.Generator) -> np.ndarray:
    """The control: for every example of `test`, how often `NUM_SHUFFLES` probes with shuffled labels hit it."""
    runs = [
        probe_hits(Examples(train.features, rng.permutation(train.labels)), test).astype(float)
        for _ in range(NUM_SHUFFLES)
    ]
    return np.mean(runs, axis=0)


def balanced(labels: Sequence[bool], rng: np.random.Generator) -> list[int]:
    """Indices of equally many true and false items, as many as there are, in a random order."""
    groups = [np.flatnonzero(np.asarray(labels, dtype=bool) == value) for value in (True, False)]
    size = min(len(group) for group in groups)
    kept = np.concatenate([rng.permutation(group)[:size] for group in groups])
    return [int(index) for index in rng.permutation(kept)]


def _check(train: Examples, test: Examples) -> None:
    for name, examples in (("training", train), ("test", test)):
        shape = examples.features.shape
        if len(shape) != 2 or len(examples.labels) != shape[0] or shape[1] != train.features.shape[1] or not shape[0]:
            raise OmnikitError(
                f"A probe takes features [N, D] with N labels; the {name} features are {list(shape)}, "
                f"with {len(examples.labels)} labels."
            )
        if not np.isfinite(examples.features).all():
            raise OmnikitError(f"The {name} features of a probe hold NaN or infinite numbers.")
    if len(set(train.labels.astype(bool).tolist())) < 2:
        raise OmnikitError("A probe must be trained on examples of both labels; only one was given.")
