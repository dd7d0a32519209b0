"""Linear probes: what a plain classifier can read from a vector an item.

Letters: N examples, D features, C classes, M examples to read, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from omnikit.errors import OmnikitError

PENALTIES = (1e-3, 1e-2, 1e-1)
CHECK_SHARE = 1 / 3
MAX_STEPS = 120


@dataclass(frozen=True)
class Examples:
    """`features` [N, D] with the `labels` [N] of their classes 0, 1 …, and the `groups` [N] that they come from."""

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def pick(self, chosen: np.ndarray) -> Examples:
        """The examples at these indices, or where a mask is true."""
        return Examples(self.features[chosen], self.labels[chosen], self.groups[chosen])


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: standardised features times `weights` [D, C] plus `bias` [C], fitted with this `penalty`."""

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    penalty: float

    def read(self, features: np.ndarray) -> np.ndarray:
        """The most likely class of every row [M, D] → [M]."""
        return (((features - self.mean) / self.deviation) @ self.weights + self.bias).argmax(-1)


def pooled(frames: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over time of `frames` [T, D] → [2 D]."""
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def fit_linear(
    train: Examples, num_classes: int, rng: np.random.Generator, penalties: Sequence[float] = PENALTIES
) -> LinearProbe:
    """A multinomial logistic regression in which every class weighs the same.

    Features are standardised; the weights (not the bias) carry an L2 penalty, the one of `penalties` that reads
    held-out groups of the training examples best. Where features outnumber examples, they are first rotated into the
    span of the examples, which changes nothing: the penalty is blind to rotations.
    Raises `OmnikitError` where shapes do not fit, a feature is not finite or training lacks a second class.
    """
    _check(train)
    mean, deviation = train.features.mean(axis=0), train.features.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    inputs = (train.features - mean) / deviation  # [N, D]
    basis = None
    if inputs.shape[1] > inputs.shape[0]:
        basis = np.linalg.svd(inputs, full_matrices=False)[2]  # [R, D]
        inputs = inputs @ basis.T  # [N, R]
    inside = Examples(inputs, train.labels, train.groups)
    penalty = _best_penalty(inside, num_classes, rng, penalties)
    weights, bias = _solve(inside, num_classes, penalty)
    return LinearProbe(mean, deviation, weights if basis is None else basis.T @ weights, bias, penalty)


def _best_penalty(train: Examples, num_classes: int, rng: np.random.Generator, penalties: Sequence[float]) -> float:
    """The penalty whose probe, fitted without a third of the groups, reads those best (the larger one of equals)."""
    groups = rng.permutation(np.unique(train.groups))
    held = np.isin(train.groups, groups[: int(len(groups) * CHECK_SHARE)])
    fitted, check = train.pick(~held), train.pick(held)
    if len(penalties) == 1 or not len(check.labels) or len(np.unique(fitted.labels)) < 2:
        return max(penalties)
    scores = {}
    for penalty in sorted(penalties, reverse=True):
        weights, bias = _solve(fitted, num_classes, penalty)
        hits = (check.features @ weights + bias).argmax(-1) == check.labels
        scores[penalty] = np.mean([hits[check.labels == label].mean() for label in np.unique(check.labels)])
    return max(scores, key=lambda penalty: scores[penalty])


def _solve(train: Examples, num_classes: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights [D, C] and bias [C] that minimise the class-weighted cross-entropy plus penalty / 2 · |weights|²."""
    inputs, labels = train.features, train.labels
    num, dim = inputs.shape
    counts = np.bincount(labels, minlength=num_classes)
    shares = (1 / (np.maximum(counts, 1) * (counts > 0).sum()))[labels]  # [N], sum 1
    targets = np.eye(num_classes)[labels]  # [N, C]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-num_classes].reshape(dim, num_classes), flat[-num_classes:]
        logs = log_softmax(inputs @ weights + bias, axis=1)  # [N, C]
        slopes = (np.exp(logs) - targets) * shares[:, None]  # [N, C]
        loss = -float(shares @ logs[np.arange(num), labels]) + 0.5 * penalty * float((weights**2).sum())
        return loss, np.concatenate([(inputs.T @ slopes + penalty * weights).ravel(), slopes.sum(0)])

    start = np.zeros((dim + 1) * num_classes)
    flat = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS}).x
    return flat[:-num_classes].reshape(dim, num_classes), flat[-num_classes:]


def _check(train: Examples) -> None:
    shape = train.features.shape
    if len(shape) != 2 or not shape[0] or len(train.labels) != shape[0] or len(train.groups) != shape[0]:
        raise OmnikitError(
            f"A probe takes features [N, D] with N labels and groups; given were features {list(shape)} "
            f"with {len(train.labels)} labels and {len(train.groups)} groups."
        )
    if not np.isfinite(train.features).all():
        raise OmnikitError("The features of a probe hold NaN or infinite numbers.")
    if len(np.unique(train.labels)) < 2:
        raise OmnikitError("A probe must be trained on examples of two classes or more; only one was given.")
