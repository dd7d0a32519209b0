"""Attention in bfloat16 on CPU against torch's own, and that a model really uses it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from omnikit.backbones import attention
from omnikit.backbones.attention import attend
from omnikit.backbones.hf_causal import HFCausal
from omnikit.slots.backbone import Segment


def draw(heads: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(heads * 100 + length)
    return torch.randn(2, heads, length, 8, generator=generator).bfloat16()


@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize(("queries", "masked"), [(6, False), (6, True), (1, False), (3, True)])
def test_it_equals_the_fused_kernel(heads: int, queries: int, masked: bool) -> None:
    query, key, value = draw(4, queries), draw(heads, 6), draw(heads, 6)
    allowed = torch.ones(queries, 6, dtype=torch.bool).tril(6 - queries).expand(2, 1, -1, -1).clone()
    if masked:
        allowed[1, :, :, 0] = False
        allowed[1, :, 0, -queries:] = True  # every query sees something
    found, _ = attend(torch.nn.Module(), query, key, value, allowed if masked else None, scaling=8**-0.5)
    wide = [each.float().repeat_interleave(4 // each.shape[1], 1) for each in (query, key, value)]
    expected = functional.scaled_dot_product_attention(*wide, attn_mask=allowed).transpose(1, 2)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=2e-2, rtol=2e-2)


def test_a_backbone_trains_through_it_in_bfloat16_only(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[torch.dtype] = []

    def spy(module, query, key, value, mask, **options):  # type: ignore[no-untyped-def]
        kinds.append(value.dtype)
        return attend(module, query, key, value, mask, **options)

    monkeypatch.setattr(attention, "attend", spy)
    torch.manual_seed(0)
    backbone = HFCausal(hidden=32, layers=1, codebooks=(8,), unit_rate=25, layout="frame", vocab_id="v")
    rows = [
        [Segment(control="start"), Segment(units=((1, 2, 3),), train=True)],
        [Segment(text="a"), Segment(text="b", train=True)],
    ]
    full = float(backbone.loss(rows).total)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = backbone.loss(rows).total
    half.backward()
    assert kinds == [torch.float32, torch.bfloat16]
    assert float(half.detach()) == pytest.approx(full, rel=1e-2)
    assert float(next(backbone.model.parameters()).grad.abs().max()) > 0
