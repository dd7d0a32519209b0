"""Small random backbones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from omnikit.backbones.hf_causal import HFCausal

TEXTS = ["what color is the star", "the star is red", '{"heard":"", "reply":"the star is red", "emotion":"sad"}'] * 4


@pytest.fixture
def make() -> Callable[..., HFCausal]:
    """Builds a backbone with 64 units and 40 merges."""

    def build(**parameters: Any) -> HFCausal:
        torch.manual_seed(0)
        small = {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate": 48, "max_positions": 64}
        units = {"codebooks": [64], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
        backbone = HFCausal(**{**small, **units, **parameters})
        backbone.fit_text(TEXTS, 296)
        return backbone.eval()

    return build


@pytest.fixture
def backbone(make: Callable[..., HFCausal]) -> HFCausal:
    return make()
