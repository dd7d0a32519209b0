"""Rational-quadratic splines: monotone, invertible, the slope is the derivative, the identity outside."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.nn.spline import rational_quadratic_spline


def raw(seed: int, num_bins: int, num_inputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    widths, heights = (torch.randn(num_bins, generator=draws, dtype=torch.float64) for _ in range(2))
    slopes = torch.randn(num_bins - 1, generator=draws, dtype=torch.float64)
    return tuple(each.expand(num_inputs, -1) for each in (widths, heights, slopes))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), num_bins=st.integers(2, 12), bound=st.sampled_from([1.0, 5.0]))
def test_monotone_and_invertible(seed: int, num_bins: int, bound: float) -> None:
    x = torch.linspace(-1.5 * bound, 1.5 * bound, 301, dtype=torch.float64)
    shape = raw(seed, num_bins, len(x))
    y, log_slope = rational_quadratic_spline(x, *shape, bound=bound)
    assert (y.diff() > 0).all()
    outside = x.abs() > bound
    assert torch.equal(y[outside], x[outside])
    assert not log_slope[outside].any()
    back, back_slope = rational_quadratic_spline(y, *shape, inverse=True, bound=bound)
    torch.testing.assert_close(back, x, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(back_slope, -log_slope, atol=1e-6, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_slope_is_the_derivative(seed: int) -> None:
    x = (
        torch.rand(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 9.8 - 4.9
    ).requires_grad_()
    y, log_slope = rational_quadratic_spline(x, *raw(seed, 10, 50))
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope.log(), log_slope.detach(), atol=1e-7, rtol=1e-7)


def test_every_input_outside() -> None:
    x = torch.tensor([-9.0, 5.5, 100.0], dtype=torch.float64, requires_grad=True)
    shape = [each.clone().requires_grad_() for each in raw(0, 10, 3)]
    y, log_slope = rational_quadratic_spline(x, *shape)
    assert torch.equal(y, x)
    (y.sum() + log_slope.sum()).backward()
    assert all(each.grad.isfinite().all() for each in (x, *shape))
