"""Monotone rational-quadratic splines with linear tails.

Letters: K bins. Inputs have any shape [...]; the raw parameters have one more axis.

Ref: Durkan et al., "Neural Spline Flows", NeurIPS 2019, section 3.1 and appendix A. Outside
[-bound, bound] the map is the identity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def _knots(raw: Tensor, bound: float, smallest: float) -> Tensor:
    """Unnormalised bin sizes [..., K] → knot positions [..., K + 1] from -bound to bound."""
    num_bins = raw.shape[-1]
    shares = smallest + (1 - smallest * num_bins) * raw.softmax(-1)
    inner = 2 * bound * shares.cumsum(-1)[..., :-1] - bound
    low = inner.new_full((*inner.shape[:-1], 1), -bound)
    return torch.cat([low, inner, -low], -1)


def rational_quadratic_spline(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    slopes: Tensor,
    *,
    inverse: bool = False,
    bound: float = 5.0,
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_slope: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """Map x [...] through the spline (or its inverse) and return it with the logarithm of the slope, both [...].

    Args:
        widths, heights: raw bin sizes [..., K], made positive by a softmax.
        slopes: raw slopes of the K - 1 inner knots [..., K - 1], made positive by a softplus; the outer two are 1.
    """
    inside = (x >= -bound) & (x <= bound)
    at = x.clamp(-bound, bound)
    left, bottom = _knots(widths, bound, min_width), _knots(heights, bound, min_height)
    outer = math.log(math.expm1(1 - min_slope))
    slopes = min_slope + functional.softplus(functional.pad(slopes, (1, 1), value=outer))  # [..., K + 1]

    grid = bottom if inverse else left
    bin_index = (at[..., None] >= grid[..., 1:-1]).sum(-1, keepdim=True)  # [..., 1]

    def chosen(values: Tensor) -> Tensor:
        return values.gather(-1, bin_index)[..., 0]

    x_left, y_left = chosen(left), chosen(bottom)
    width = chosen(left.diff(dim=-1))
    height = chosen(bottom.diff(dim=-1))
    delta = height / width
    slope, next_slope = chosen(slopes), chosen(slopes[..., 1:])
    bend = slope + next_slope - 2 * delta

    if inverse:
        rise = at - y_left
        a = rise * bend + height * (delta - slope)
        b = height * slope - rise * bend
        c = -delta * rise
        root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
        theta = 2 * c / (-b - root)
        mapped = theta * width + x_left
    else:
        theta = (at - x_left) / width
    mixed = theta * (1 - theta)
    denominator = delta + bend * mixed
    if not inverse:
        mapped = y_left + height * (delta * theta.square() + slope * mixed) / denominator
    numerator = delta.square() * (next_slope * theta.square() + 2 * delta * mixed + slope * (1 - theta).square())
    log_slope = numerator.log() - 2 * denominator.log()
    if inverse:
        log_slope = -log_slope
    return torch.where(inside, mapped, x), torch.where(inside, log_slope, torch.zeros_like(x))
