"""What several emitters check of their parameters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from omnikit.errors import OmnikitError


def check_heads(name: str, dim: int, heads: int) -> None:
    """Raises `OmnikitError` where the width of `emitter/name` cannot be divided among its attention heads."""
    if heads < 1 or dim % heads:
        raise OmnikitError(f"emitter/{name}: dim {dim} must be a multiple of heads {heads}.")


def warn_of_one_codebook(name: str, codebooks: Sequence[int]) -> None:
    """Say that `emitter/name` does just what `emitter/in_vocab` does where there is one codebook."""
    if len(codebooks) == 1:
        warnings.warn(
            f"emitter/{name} is for several codebooks; with one it reads and writes what emitter/in_vocab does.",
            stacklevel=4,
        )
