"""Flows: inverses, volumes, and padding that never leaks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from omnikit.nn.flow import WN, ConvFlow, Coupling, CouplingFlow, DDSConv, ElementwiseAffine

MASK = torch.ones(2, 1, 6)
MASK[1, 0, 4:] = 0


def randomised(module: nn.Module) -> nn.Module:
    """Also what starts at zero."""
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=draws)
    return module.double().eval()


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("make", [lambda: Coupling(4, 6, 3, 2, 5), lambda: CouplingFlow(4, 6, 3, 2, 3, 5)])
def test_couplings_invert_and_keep_volume(make: object) -> None:
    flow, x, g = randomised(make()), normal(2, 4, 6) * MASK, normal(2, 5, 1)
    y = flow(x, MASK, g)
    assert not torch.allclose(y, x)
    torch.testing.assert_close(flow.inverse(y, MASK, g), x)
    jacobian = torch.autograd.functional.jacobian(lambda row: flow(row[None], MASK[:1], g[:1])[0], x[0])
    volume = torch.linalg.slogdet(jacobian.reshape(24, 24)).logabsdet
    torch.testing.assert_close(volume, torch.zeros_like(volume), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", ["spline", "affine"])
def test_duration_flows_invert_and_know_their_volume(kind: str) -> None:
    condition = normal(2, 8, 6)
    if kind == "spline":
        module = randomised(ConvFlow(8, 3))
        forward, inverse = (lambda x, m, c: module(x, m, c)), (lambda y, m, c: module.inverse(y, m, c))
        tolerance = 1e-5  # the spline itself runs in float32
    else:
        module = randomised(ElementwiseAffine(2))
        forward, inverse = (lambda x, m, c: module(x, m)), (lambda y, m, c: module.inverse(y, m))
        tolerance = 1e-9
    x = normal(2, 2, 6) * MASK
    y, log_det = forward(x, MASK, condition)
    torch.testing.assert_close(inverse(y, MASK, condition), x * MASK, atol=tolerance, rtol=tolerance)
    for row in range(2):
        length = int(MASK[row].sum())

        def cut(z: torch.Tensor, row: int = row, length: int = length) -> torch.Tensor:
            return forward(z[None], MASK[row : row + 1, :, :length], condition[row : row + 1, :, :length])[0][0]

        jacobian = torch.autograd.functional.jacobian(cut, x[row, :, :length]).reshape(2 * length, 2 * length)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(log_det[row], expected, atol=10 * tolerance, rtol=10 * tolerance, check_dtype=False)


@pytest.mark.parametrize(
    "module", [WN(4, 3, 3), Coupling(4, 6, 3, 2), DDSConv(4, 3)], ids=["wn", "coupling", "separable"]
)
def test_padding_never_reaches_a_valid_step(module: nn.Module) -> None:
    module, x = randomised(module), normal(2, 4, 6) * MASK
    noisy = torch.where(MASK > 0, x, 7.0) if isinstance(module, DDSConv) else x
    together = module(noisy, MASK)
    alone = module(x[1:, :, :4], MASK[1:, :, :4])
    torch.testing.assert_close(together[1:, :, :4], alone)
    assert not together[1, :, 4:].any()
