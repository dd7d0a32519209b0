"""What a residual codec is to omnikit: sound ↔ steps ↔ ids, one row at a time; and what its units are.

Letters: B batch, S samples, K codebooks, T units, D width of the codes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.errors import OmnikitError


class Codec(nn.Module):
    """The networks of a codec. Its codebooks stay as they are, so that ids keep their meaning while the rest learns.

    `sample_rate` in Hz, `hop_size` samples of a unit, `sizes` of the codebooks.
    """

    sample_rate: int
    hop_size: int
    sizes: tuple[int, ...]

    @abstractmethod
    def steps(self, wave: Tensor) -> Tensor:
        """Waves [B, S] → the encoder's steps [B, D, T], `ceil(S / hop_size)` of them."""

    @abstractmethod
    def ids(self, steps: Tensor) -> Tensor:
        """Steps [B, D, T] → ids [B, K, T]."""

    @abstractmethod
    def vectors(self, codes: Tensor) -> Tensor:
        """Ids [B, K, T] → what they stand for in the place of steps [B, D, T]."""

    @abstractmethod
    def sound(self, vectors: Tensor) -> Tensor:
        """[B, D, T] → waves [B, T · hop_size]."""

    def whole(self, wave: Tensor) -> Tensor:
        """Waves [B, S] filled up with zeros to whole units."""
        return functional.pad(wave, (0, -wave.shape[-1] % self.hop_size))

    def fitted(self, wave: Tensor, num_units: int) -> Tensor:
        """Waves [B, S] cut, or filled up with zeros, to the samples of `num_units`."""
        missing = num_units * self.hop_size - wave.shape[-1]
        return functional.pad(wave, (0, missing)) if missing > 0 else wave[..., : num_units * self.hop_size]


def check_books(num_codebooks: int, codebook_size: int, least: int = 1) -> None:
    """Raise `OmnikitError` for fewer codebooks than a codec can have, or sizes that are no power of 2."""
    if num_codebooks < least or codebook_size < 2 or codebook_size & (codebook_size - 1):
        raise OmnikitError(
            f"{num_codebooks} codebooks of {codebook_size} ids cannot be: "
            f"give at least {least}, of a power of 2 ids each."
        )


def books_of(codebooks: Sequence[int]) -> tuple[int, int]:
    """Number and size of codebooks. Raises `OmnikitError` where their sizes differ, or there are none."""
    if not codebooks or len(set(codebooks)) > 1:
        raise OmnikitError(f"This codec has one or more codebooks of one size; {list(codebooks)} were given.")
    return len(codebooks), codebooks[0]


def tidied(network: nn.Module) -> nn.Module:
    """The network with plain tensors of its modules as numbers or buffers, so that `.to` moves all of it."""
    for part in network.modules():
        for name in [name for name, value in vars(part).items() if isinstance(value, Tensor)]:
            value = vars(part).pop(name)
            if value.dim() == 0 and not value.is_floating_point():
                setattr(part, name, int(value))
            else:
                part.register_buffer(name, value, persistent=False)
    return network


def straight_through(steps: Tensor, vectors: Tensor) -> Tensor:
    """`vectors`, with the gradient of `steps`."""
    return steps + (vectors - steps).detach()


def valid_samples(lengths: Tensor, num_samples: int) -> Tensor:
    """True [B, S] within each row."""
    return torch.arange(num_samples, device=lengths.device) < lengths[:, None]
