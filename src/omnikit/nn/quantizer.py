"""What a bottleneck is: vectors → codes and ids. Three kinds fill it: `nn.fsq`, `nn.vq` and `nn.kmeans`.

Letters: B batch, T steps, d dimensions of a vector, N codes; `...` any leading axes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Quantizer(nn.Module):
    """Base of the quantisers: vectors of `dim` numbers become one of `num_codes` codes.

    `forward` is inference and changes nothing; `learn` is what a training step asks for; `fit` is called once after
    training where `is_fitted_afterwards` says so.
    """

    dim: int
    num_codes: int
    is_fitted_afterwards = False

    @abstractmethod
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [..., d] float32 and ids [...] int64 of vectors z [..., d]."""

    @abstractmethod
    def codes_from_ids(self, ids: Tensor) -> Tensor:
        """Codes [..., d] float32 of ids [...] int64."""

    def learn(self, z: Tensor, valid: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Differentiable codes [B, T, d] of z [B, T, d], and terms that join the loss, by name.

        What a quantiser learns from statistics it takes from the steps that are `valid` [B, T].
        """
        return self(z)[0], {}

    def fit(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Find the codes of a trained network from its vectors [M, d]; only where `is_fitted_afterwards`."""
        raise TypeError(f"{type(self).__name__} learns its codes during training.")
