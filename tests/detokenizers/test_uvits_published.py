"""The published sizes: every key and shape of the weights, without allocating them.

In the listings `{0..3}` and `{0,2}` stand for indices.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from omnikit.detokenizers.uvits import UVITS

HERE = Path(__file__).parent
CONF = HERE.parents[1] / "conf" / "detokenizer"
RUN = re.compile(r"\{([^}]*)\}")


def expand(pattern: str) -> list[str]:
    """The keys that a line with index ranges stands for."""
    choices = []
    for run in RUN.findall(pattern):
        low, _, high = run.partition("..")
        choices.append([str(i) for i in range(int(low), int(high) + 1)] if high else run.split(","))
    parts = RUN.split(pattern)[::2]
    return ["".join(a + b for a, b in zip(parts, [*picked, ""], strict=True)) for picked in product(*choices)]


def listed(name: str) -> dict[str, tuple[int, ...]]:
    """Key → shape from a listing."""
    rows = (line.split() for line in (HERE / name).read_text().splitlines())
    return {key: tuple(map(int, shape.split("x"))) for pattern, shape in rows for key in expand(pattern)}


def settings(name: str) -> dict[str, Any]:
    """A variant's parameters over those of the variants that it builds on."""
    own = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    merged: dict[str, Any] = {}
    for base in own.pop("defaults"):
        if base not in ("uvits", "_self_"):
            merged |= settings(base)
    return merged | own


@pytest.fixture(scope="module")
def published() -> UVITS:
    with torch.device("meta"):
        return UVITS(
            codebooks=(4096,), vocab_id="v", unit_rate=25, style_dim=256, style_space="s", **settings("uvits_emova")
        )


def test_keys_and_shapes(published: UVITS) -> None:
    got = {key: tuple(tensor.shape) for key, tensor in published.state_dict().items()}
    assert got == listed("published_keys.txt")
    assert len(got) == 876
    assert sum(weight.numel() for weight in published.parameters()) == 41_874_224


def test_discriminator(published: UVITS) -> None:
    with torch.device("meta"):
        adversary = published.make_discriminator()
    got = {key: tuple(tensor.shape) for key, tensor in adversary.state_dict().items()}
    assert got == listed("published_discriminator_keys.txt")
    assert sum(weight.numel() for weight in adversary.parameters()) == 46_747_132


@pytest.mark.parametrize("name", ["uvits_tiny", "uvits_tiny_hifigan"])
def test_tiny_is_small(name: str) -> None:
    """5.24 M parameters, and 0.36 M for the source of the Fourier head, which the bound of 5.5 M before it had not."""
    with torch.device("meta"):
        model = UVITS(codebooks=(4096,), vocab_id="v", unit_rate=25, style_dim=64, style_space="s", **settings(name))
    parts = (model.enc_p, model.dp, model.flow, model.dec, model.enc_q)
    assert sum(weight.numel() for part in parts for weight in part.parameters()) <= 5_700_000
