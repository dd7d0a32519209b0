"""`style/label_centroid`: a table of style vectors, one for every combination of labels.

Letters: B batch, N examples, C combinations, F columns of the factor model, D style width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from omnikit.contracts import Contract, StylePort
from omnikit.slots.style import StyleModule, check_examples
from omnikit.slots.style_factors import FactorSpace
from omnikit.types import Labels, Style, StyleSource

FACTORS = {
    "gender": ["female", "male"],
    "emotion": ["neutral", "happy", "sad", "angry"],
    "speed": ["normal", "slow", "fast"],
    "pitch": ["normal", "low", "high"],
}
SCALES = {
    "speed": {"slow": 0.8, "normal": 1.0, "fast": 1.25},
    "pitch": {"low": -2.5, "normal": 0.0, "high": 2.5},
}
"""Speed as a factor on the rate, pitch in semitones: what these labels ask for in the corpus."""
UNFITTED = "unfitted"
_OWNER = "style/label_centroid"


class LabelCentroid(StyleModule):
    """Labels → the mean embedding of the recordings that carry them.

    Args:
        dim: width of the style vectors.
        factors: the values of each factor; the first is the default.
        space_id: name of the embedding space that the table was learnt in.
        scales: factor → value → position, for factors whose labels may be numbers; positions of values that are not in
            `factors` say nothing.

    A combination without an example gets the prediction of an additive model: intercept + one vector a factor value,
    fitted by least squares on all examples. A number between two values of a scale mixes their vectors linearly.

    Contract: gives a style vector of `dim` numbers in `space_id`.
    Ref: the table of style prototypes of Chen et al. 2024 (EMOVA, arXiv 2409.18042, section 3.2).

    >>> LabelCentroid(dim=4, factors={"emotion": ["neutral", "sad"]}).from_labels([{"emotion": "sad"}]).vector.shape
    torch.Size([1, 4])
    """

    centroids: Tensor
    counts: Tensor

    def __init__(
        self,
        dim: int = 128,
        factors: Mapping[str, Sequence[str]] = FACTORS,
        space_id: str = UNFITTED,
        scales: Mapping[str, Mapping[str, float]] = SCALES,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.space_id = space_id
        self.space = FactorSpace(_OWNER, factors, scales)
        num_combinations = self.space.num_combinations
        self.register_buffer("centroids", torch.zeros(num_combinations, dim))  # [C, D]
        self.register_buffer("counts", torch.zeros(num_combinations, dtype=torch.long))  # [C]

    @classmethod
    def contract(cls, dim: int, factors: Any, space_id: str, scales: Any) -> Contract:
        return Contract(
            gives={"style": StylePort(view="vector", dim=dim, space_id=space_id)}, causal=True, lookahead_ms=0.0
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """Every factor with its values, the default first."""
        return self.space.factors

    @property
    def scales(self) -> Mapping[str, Mapping[str, float]]:
        """The factors whose labels may be numbers, with the position of each value."""
        return self.space.scales

    def known_combinations(self) -> list[dict[str, str]]:
        """The combinations that had at least one example; the others are predicted by the additive model."""
        combinations = self.space.combinations()
        return [combination for combination, count in zip(combinations, self.counts.tolist(), strict=True) if count]

    def count_of(self, labels: Mapping[str, str]) -> int | None:
        """How many examples the combination had; with 0, the additive model predicts it."""
        return int(self.counts[self._nearest_row(labels)])

    def from_labels(self, labels: Sequence[Labels], source: StyleSource = "user") -> Style:
        """Vectors [B, D] of the labels; missing factors take their default.

        Raises `UnknownName` for a factor or value that does not exist, `OmnikitError` for a number off its scale.
        """
        full = tuple(self.space.complete(row) for row in labels)
        weights = self.centroids.new_zeros(len(full), len(self.centroids))  # [B, C]
        for row, mixed in zip(weights, map(self.space.mixture, full), strict=True):
            row[list(mixed)] = row.new_tensor(list(mixed.values()))
        return Style(labels=full, vector=weights @ self.centroids, space_id=self.space_id, source=source)

    def fit(self, vectors: Tensor, labels: Sequence[Labels], space_id: str) -> None:
        """Learn the table from `vectors` [N, D] of the space `space_id` and one mapping of labels a vector.

        A label that is a number counts as the nearest value of its scale.
        """
        examples = check_examples(_OWNER, vectors, labels, self.dim)  # [N, D]
        rows = torch.tensor([self._nearest_row(row) for row in labels])  # [N]
        counts = torch.bincount(rows, minlength=len(self.counts))  # [C]
        sums = torch.zeros(len(counts), self.dim, dtype=torch.float64).index_add_(0, rows, examples)  # [C, D]
        means = sums / counts.clamp(min=1).unsqueeze(1)
        design = self._design()  # [C, F]
        # gelsd takes the shortest solution where factor values never varied, so that they add nothing.
        weights = torch.linalg.lstsq(design[rows], examples, driver="gelsd").solution  # [F, D]
        table = torch.where((counts > 0).unsqueeze(1), means, design @ weights)
        self.centroids.copy_(table)
        self.counts.copy_(counts)
        self.space_id = space_id
        self.parameters_given["space_id"] = space_id

    def _design(self) -> Tensor:
        """Columns of the additive model for every combination: an intercept, then one-hot values [C, F]."""
        rows = []
        for combination in self.space.combinations():
            row = [1.0]
            for name, options in self.factors.items():
                row += [float(option == combination[name]) for option in options]
            rows.append(row)
        return torch.tensor(rows, dtype=torch.float64)

    def _nearest_row(self, labels: Labels) -> int:
        mixed = self.space.mixture(self.space.complete(labels))
        return max(mixed, key=lambda row: mixed[row])
