"""`attention=flex_attention`: a packed row is read as its sequences alone, and as torch's plain kernel reads it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from omnikit.backbones.hf_causal import HFCausal
from omnikit.backbones.packing import can_pack
from omnikit.slots.backbone import Segment

UNITS: dict[str, Any] = {"codebooks": [16], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
SIZES = {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate": 48, "max_positions": 64}


def rows(width: int) -> list[list[Segment]]:
    """Sequences of 6, 29 and 13 positions, one with features."""
    end = Segment(control="end", train=True)
    frames = torch.randn(5, width, generator=torch.Generator().manual_seed(1))
    return [
        [Segment(text="red"), Segment(units=((1, 2),), train=True), end],
        [Segment(text="a long question about it?"), Segment(text="no", train=True), end],
        [Segment(frames=frames), Segment(text="a box, ", train=True), end],
    ]


def test_a_packed_row_is_read_as_its_sequences_alone() -> None:
    torch.manual_seed(0)
    flex = HFCausal(attention="flex_attention", **SIZES, **UNITS).eval()
    plain = HFCausal(**SIZES, **UNITS).eval()
    plain.load_state_dict(flex.state_dict())
    assert can_pack(flex.model)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # the same arithmetic, without minutes of compiling
        together = flex.loss(rows(32))
        alone = [flex.loss([row]) for row in rows(32)]
        means = torch.cat([one.parts["sequences"] for one in alone])
        torch.testing.assert_close(together.parts["sequences"], means, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.total, plain.loss(rows(32)).total, rtol=1e-4, atol=1e-4)
    assert float(means.max() - means.min()) > 1e-3


def test_on_a_cpu_it_reads_and_does_not_learn() -> None:
    """torch has no backward pass of it there; it says so instead of learning something wrong."""
    flex = HFCausal(attention="flex_attention", **SIZES, **UNITS)
    with torch.compiler.set_stance("force_eager"), pytest.raises(NotImplementedError, match="backward on CPU"):
        flex.loss(rows(32))
