"""Taking over weights names every tensor, and never what a part computes from its own parameters."""

from __future__ import annotations

import torch

import omnikit
from omnikit.metrics.rates import share
from omnikit.serving.demo import rate_figure
from omnikit.serving.swaps import take_over

SMALL = {
    "num_mels": 20,
    "widths": [8, 16, 16, 16],
    "layers": [1, 1],
    "heads": [2, 2],
    "ffn_ratio": 1,
    "position": [4, 2],
    "num_phones": 5,
    "decoder_dim": 8,
}


def test_other_levels_of_the_same_count_keep_their_own_grid() -> None:
    old = omnikit.create("tokenizer/spiral_fsq", levels=[8, 8, 8], **SMALL)
    new = omnikit.create("tokenizer/spiral_fsq", levels=[5, 5, 5], **SMALL)
    report = take_over(new, old)
    assert not report.fresh
    assert not report.dropped
    assert all(torch.equal(a, b) for a, b in zip(new.parameters(), old.parameters(), strict=True))
    assert new.sizes == (125,)
    assert int(new.quantizer(torch.full((1, 1, 3), 9.0))[1].max()) < 125


def test_what_does_not_fit_starts_anew_and_is_named() -> None:
    old = omnikit.create("tokenizer/spiral_fsq", levels=[8, 8, 8, 8], **SMALL)
    new = omnikit.create("tokenizer/spiral_fsq", levels=[8, 8, 8], **SMALL)
    before = new.pre_quant.weight.clone()
    report = take_over(new, old)
    assert set(report.fresh) == {
        "pre_quant.weight",
        "pre_quant.bias",
        "decoder.conv_layers.0.conv.conv.weight",
    }
    assert torch.equal(new.pre_quant.weight, before)
    assert report.fresh_numbers == 16 * 3 + 3 + 8 * 3 * 5
    assert report.kept_numbers + report.fresh_numbers == sum(p.numel() for p in new.parameters())
    assert "3 start anew" in str(report)


def test_aims_are_held_in_their_direction() -> None:
    half = share([True, False])
    assert rate_figure("x", half, 0.4).reached is False
    assert rate_figure("x", half, 0.4, at_least=True).reached is True
    assert rate_figure("x", half, None).reached is None
    nothing = rate_figure("x", share([]), 0.4)
    assert nothing.reached is None
    assert nothing.value == "nothing to measure"
