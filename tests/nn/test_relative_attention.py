"""Relative attention: the band tricks and the blocks of queries against plain indexing, and padding."""

from __future__ import annotations

import pytest
import torch

from omnikit.nn import relative_attention
from omnikit.nn.relative_attention import RelativeAttention, RelativeTransformer, skewed, unskewed


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("width", [3, 5, 9])
def test_bands_and_squares(num_steps: int, width: int) -> None:
    draws = torch.Generator().manual_seed(0)
    band = torch.randn(2, num_steps, width, generator=draws)
    square = torch.randn(2, num_steps, num_steps + width - 1, generator=draws)
    expected_square, expected_band = torch.zeros_like(square), torch.zeros_like(band)
    for i in range(num_steps):
        for r in range(width):
            expected_square[:, i, i + r] = band[:, i, r]
            expected_band[:, i, r] = square[:, i, i + r]
    assert torch.equal(skewed(band), expected_square)
    assert torch.equal(unskewed(square, width), expected_band)


@pytest.mark.parametrize("at_once", [1, 3, 4, 64])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 12])
def test_attention_is_that_of_the_formula(at_once: int, num_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relative_attention, "_SCORES_AT_ONCE", at_once * num_steps)
    torch.manual_seed(0)
    model, window = RelativeAttention(8, 2), 4
    x, mask = torch.randn(2, 8, num_steps), torch.ones(2, 1, num_steps)
    mask[1, 0, (num_steps + 1) // 2 :] = 0
    out = model(x, mask)
    query, key, value = (conv(x).view(2, 2, 4, num_steps) for conv in (model.conv_q, model.conv_k, model.conv_v))
    for row in range(2):
        valid = int(mask[row].sum())
        for i in range(valid):
            heads = []
            for head in range(2):
                q = query[row, head, :, i] / 2
                near = [(j, j - i + window) for j in range(valid) if abs(j - i) <= window]
                scores = torch.stack([q @ key[row, head, :, j] for j in range(valid)])
                for j, r in near:
                    scores[j] += q @ model.emb_rel_k[0, r]
                weights = scores.softmax(0)
                seen = sum(weights[j] * value[row, head, :, j] for j in range(valid))
                heads.append(seen + sum(weights[j] * model.emb_rel_v[0, r] for j, r in near))
            expected = model.conv_o(torch.cat(heads)[None, :, None])[0, :, 0]
            torch.testing.assert_close(out[row, :, i], expected, atol=1e-5, rtol=1e-4)


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
