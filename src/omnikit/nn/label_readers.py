"""Linear readers of labels in style vectors, for training encoders to say what they are meant to say.

Letters: B batch, G style width, V values of a factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_SHARPNESS = 10.0
"""Scores of unit-length vectors lie within ±1 of each other at the start; times this they can tell values apart."""
_UNLABELLED = -100


class StyleReaders(nn.Module):
    """One linear classifier for each of `factors` (values by name) over style vectors of length 1.

    What reconstruction rewards little (durations), or what another path brings along (pitch, in a posterior), a style
    vector learnt by reconstruction alone need not hold; what must be read from it, it holds.
    """

    def __init__(self, factors: Mapping[str, Sequence[str]], style_dim: int) -> None:
        super().__init__()
        self.values = {name: {value: place for place, value in enumerate(row)} for name, row in factors.items()}
        self.heads = nn.ModuleDict({name: nn.Linear(style_dim, len(row)) for name, row in self.values.items()})

    def loss(self, vectors: Tensor, labels: Sequence[Mapping[str, str]]) -> Tensor:
        """Cross-entropy of the factors, summed over factors and averaged over rows [B, G]; rows may lack labels."""
        vectors = vectors.float() * _SHARPNESS
        total = vectors.new_zeros(())
        for name, values in self.values.items():
            wanted = [values.get(row.get(name, ""), _UNLABELLED) for row in labels]
            target = torch.tensor(wanted, device=vectors.device)
            scores = self.heads[name](vectors)  # [B, V]
            total = total + functional.cross_entropy(scores, target, ignore_index=_UNLABELLED, reduction="sum")
        return total / max(1, len(labels))
