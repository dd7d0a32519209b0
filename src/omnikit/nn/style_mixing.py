"""Mixing styles of one space by weights.

Letters: N styles, D style width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omnikit.errors import ContractError, OmnikitError
from omnikit.types import Style

_VANISHING = 1e-3


def shares(weights: Sequence[float]) -> list[float]:
    """Weights as shares that sum to 1. Raises `OmnikitError` for weights below 0, not finite, or all zero."""
    values = torch.tensor(list(weights), dtype=torch.float64)
    if not len(values) or not bool(values.isfinite().all()) or bool((values < 0).any()) or float(values.sum()) <= 0:
        raise OmnikitError(f"Weights of a mixture must be 0 or more, and not all 0; given: {list(weights)}.")
    return (values / values.sum()).tolist()


def mix_vectors(vectors: Tensor, weights: Sequence[float]) -> Tensor:
    """The mixture [D] of style vectors [N, D]: their weighted mean, at the weighted mean of their lengths.

    A mean, as a centroid is one, but no shorter than what went in: reference embeddings have length 1, and the plain
    mean of two unlike ones would lie where no recording does. Unlike in spherical interpolation, the order of styles
    does not matter, and there may be any number of them. Raises `OmnikitError` where they cancel out.
    """
    if vectors.ndim != 2 or len(vectors) != len(weights):
        raise OmnikitError(f"{len(weights)} weights and style vectors {list(vectors.shape)} do not fit.")
    share = torch.tensor(shares(weights), dtype=torch.float64, device=vectors.device)  # [N]
    exact = vectors.double()
    mean, length = share @ exact, share @ exact.norm(dim=1)
    found = mean.norm()
    if float(length) > 0 and float(found) < _VANISHING * float(length):
        raise OmnikitError("These styles point in opposite directions and cancel out; change the weights.")
    return (mean * (length / found if float(found) > 0 else 1.0)).to(vectors.dtype)


def mix_styles(styles: Sequence[Style], weights: Sequence[float]) -> Style:
    """One style of one row from several (each of one row), mixed by `weights`, which are made to sum to 1.

    Raises `ContractError` for styles without a vector or of two spaces, `OmnikitError` for weights that say nothing.
    """
    if not styles or any(style.vector is None or len(style.vector) != 1 for style in styles):
        raise ContractError("A mixture needs styles with one vector each.")
    spaces = sorted({str(style.space_id) for style in styles})
    if len(spaces) > 1:
        raise ContractError(
            f"These styles are of different spaces ({', '.join(spaces)}) and cannot be mixed.\n"
            "Make all of them with one system."
        )
    vectors = torch.cat([style.vector for style in styles if style.vector is not None])
    return Style(vector=mix_vectors(vectors, weights)[None], space_id=styles[0].space_id, source="user")
