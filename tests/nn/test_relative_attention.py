"""Relative attention: the band tricks against plain indexing, and padding."""

from __future__ import annotations

import pytest
import torch

from omnikit.nn.relative_attention import RelativeTransformer, band_to_square, square_to_band


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_bands_and_squares(num_steps: int, window: int) -> None:
    draws = torch.Generator().manual_seed(0)
    band = torch.randn(2, num_steps, 2 * window + 1, generator=draws)
    square = torch.randn(2, num_steps, num_steps, generator=draws)
    expected_square, expected_band = torch.zeros_like(square), torch.zeros_like(band)
    for i in range(num_steps):
        for j in range(num_steps):
            if abs(j - i) <= window:
                expected_square[:, i, j] = band[:, i, j - i + window]
                expected_band[:, i, j - i + window] = square[:, i, j]
    assert torch.equal(band_to_square(band), expected_square)
    assert torch.equal(square_to_band(square, window), expected_band)


def test_padding_never_reaches_a_valid_step() -> None:
    torch.manual_seed(0)
    model = RelativeTransformer(8, 12, 2, 2).eval()
    x, mask = torch.randn(2, 8, 7), torch.ones(2, 1, 7)
    mask[1, 0, 3:] = 0
    together, alone = model(x, mask), model(x[1:, :, :3], mask[1:, :, :3])
    torch.testing.assert_close(together[1:, :, :3], alone)
    assert not together[1, :, 3:].any()


def test_order_matters() -> None:
    torch.manual_seed(0)
    model = RelativeTransformer(8, 12, 2, 1, kernel_size=1).eval()  # only attention can tell the order
    x, mask = torch.randn(1, 8, 5), torch.ones(1, 1, 5)
    assert not torch.allclose(model(x.flip(2), mask).flip(2), model(x, mask), atol=1e-3)
