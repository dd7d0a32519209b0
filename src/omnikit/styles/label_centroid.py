"""`style/label_centroid`: a table of style vectors, one for every combination of labels.

Letters: N examples, C combinations, F columns of the factor model, D style width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from omnikit.contracts import Contract, StylePort
from omnikit.errors import OmnikitError, unknown_name
from omnikit.slots.style import StyleModule
from omnikit.types import Style, StyleSource

FACTORS = {
    "gender": ["female", "male"],
    "emotion": ["neutral", "happy", "sad", "angry"],
    "speed": ["normal", "slow", "fast"],
    "pitch": ["normal", "low", "high"],
}
UNFITTED = "unfitted"


class LabelCentroid(StyleModule):
    """Labels → the mean embedding of the recordings that carry them.

    Args:
        dim: width of the style vectors.
        factors: the values of each factor; the first is the default.
        space_id: name of the embedding space that the table was learnt in.

    A combination without an example gets the prediction of an additive model: intercept + one vector a factor value,
    fitted by least squares on all examples.

    Contract: gives a style vector of `dim` numbers in `space_id`.
    Ref: the table of style prototypes of Chen et al. 2024 (EMOVA, arXiv 2409.18042, section 3.2).

    >>> LabelCentroid(dim=4, factors={"emotion": ["neutral", "sad"]}).from_labels([{"emotion": "sad"}]).vector.shape
    torch.Size([1, 4])
    """

    centroids: Tensor
    counts: Tensor

    def __init__(
        self, dim: int = 128, factors: Mapping[str, Sequence[str]] = FACTORS, space_id: str = UNFITTED
    ) -> None:
        super().__init__()
        for name, values in factors.items():
            if not values or len(set(values)) != len(values):
                raise OmnikitError(f"style/label_centroid: '{name}' needs distinct values, got {list(values)}.")
        self.dim = dim
        self.space_id = space_id
        self._factors = {name: tuple(values) for name, values in factors.items()}
        num_combinations = math.prod(len(values) for values in self._factors.values())
        self.register_buffer("centroids", torch.zeros(num_combinations, dim))  # [C, D]
        self.register_buffer("counts", torch.zeros(num_combinations, dtype=torch.long))  # [C]

    @classmethod
    def contract(cls, dim: int, factors: Any, space_id: str) -> Contract:
        return Contract(
            gives={"style": StylePort(view="vector", dim=dim, space_id=space_id)}, causal=True, lookahead_ms=0.0
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """Every factor with its values, the default first."""
        return self._factors

    def known_combinations(self) -> list[dict[str, str]]:
        """The combinations that had at least one example; the others are predicted by the additive model."""
        combinations = [dict(zip(self._factors, values, strict=True)) for values in product(*self._factors.values())]
        return [combination for combination, count in zip(combinations, self.counts.tolist(), strict=True) if count]

    def from_labels(self, labels: Sequence[Mapping[str, str]], source: StyleSource = "user") -> Style:
        """Vectors [B, D] of the labels; missing factors take their default.

        Raises `UnknownName` for a factor or value that does not exist.
        """
        full = tuple(self._complete(row) for row in labels)
        rows = torch.tensor([self._row(row) for row in full], dtype=torch.long, device=self.centroids.device)
        return Style(labels=full, vector=self.centroids[rows], space_id=self.space_id, source=source)

    def fit(self, vectors: Tensor, labels: Sequence[Mapping[str, str]], space_id: str) -> None:
        """Learn the table from `vectors` [N, D] of the space `space_id` and one mapping of labels a vector."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dim or len(vectors) != len(labels) or not len(labels):
            raise OmnikitError(
                f"style/label_centroid: {len(labels)} rows of labels and vectors {list(vectors.shape)} do not fit;\n"
                f"give one vector of {self.dim} numbers for every row of labels."
            )
        examples = vectors.detach().to(dtype=torch.float64, device="cpu")  # [N, D]
        full = [self._complete(row) for row in labels]
        rows = torch.tensor([self._row(row) for row in full])  # [N]
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
        for values in product(*self._factors.values()):
            row = [1.0]
            for chosen, options in zip(values, self._factors.values(), strict=True):
                row += [float(option == chosen) for option in options]
            rows.append(row)
        return torch.tensor(rows, dtype=torch.float64)

    def _complete(self, labels: Mapping[str, str]) -> dict[str, str]:
        for name, value in labels.items():
            if name not in self._factors:
                raise unknown_name("style factor", name, self._factors)
            if value not in self._factors[name]:
                raise unknown_name(f"value of style factor '{name}'", value, self._factors[name])
        return {name: labels.get(name, values[0]) for name, values in self._factors.items()}

    def _row(self, labels: Mapping[str, str]) -> int:
        row = 0
        for name, values in self._factors.items():
            row = row * len(values) + values.index(labels[name])
        return row
