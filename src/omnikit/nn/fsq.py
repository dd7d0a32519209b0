"""Finite scalar quantisation: every dimension is bounded and rounded to a few levels; no codebook is learned.

Letters: d dimensions (one level count each), N codes (product of the levels); `...` any leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from omnikit.errors import OmnikitError
from omnikit.nn.quantizer import Quantizer

_MARGIN = 1e-3


class FSQ(Quantizer):
    """Quantises vectors [..., d] to codes in [-1, 1] and ids 0..N-1; gradients pass straight through the rounding.

    The first dimension is the least significant digit of an id. `_levels_np` and `_basis` are buffers under the names
    of published checkpoints. Raises `OmnikitError` for a level below 2.

    Ref: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023, section 3 and appendix A.1.
    """

    _levels_np: Tensor
    _basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(int(level) for level in levels)
        if not self.levels or min(self.levels) < 2:
            raise OmnikitError(f"FSQ levels are {list(levels)}; give at least one level count, each 2 or more.")
        self.dim, self.num_codes = len(self.levels), math.prod(self.levels)
        basis = [math.prod(self.levels[:index]) for index in range(len(self.levels))]
        self.register_buffer("_levels_np", torch.tensor(self.levels, dtype=torch.float32))
        self.register_buffer("_basis", torch.tensor(basis, dtype=torch.float32))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Any, strict: bool, *rest: list[str]
    ) -> None:
        """Refuse weights of a quantiser with other levels, whose tensors have the same shapes."""
        stored = state_dict.get(f"{prefix}_levels_np")
        if stored is not None and [int(level) for level in stored] != list(self.levels):
            rest[-1].append(f"its levels are {[int(level) for level in stored]}, expected {list(self.levels)}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *rest)

    def bound(self, z: Tensor) -> Tensor:
        """Squash z [..., d] so that rounding gives exactly `levels` values a dimension (float32)."""
        half = (self._levels_np - 1) * (1 - _MARGIN) / 2
        offset = (self._levels_np.remainder(2) == 0).to(half.dtype) / 2
        shift = torch.tan(offset / half)
        return torch.tanh(z.float() + shift) * half - offset

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [..., d] float32 (differentiable) and ids [...] int64 of z [..., d]."""
        bounded = self.bound(z)
        rounded = torch.round(bounded)  # half to even
        digits = rounded.detach().long() + self._half_width().long()
        straight = bounded + (rounded - bounded).detach()
        return straight / self._half_width(), (digits * self._basis.long()).sum(-1)

    def codes_from_ids(self, ids: Tensor) -> Tensor:
        """Codes [..., d] float32 of ids [...] int64; the inverse of the quantiser."""
        digits = ids[..., None].div(self._basis.long(), rounding_mode="floor") % self._levels_np.long()
        return (digits - self._half_width()) / self._half_width()

    def _half_width(self) -> Tensor:
        return torch.floor(self._levels_np / 2)
