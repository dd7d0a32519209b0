"""Decoders read with few operations: numbers of transformers, whatever was read before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from omnikit.backbones.hf_causal import HFCausal
from omnikit.backbones.lean import FAMILIES, LeanDecoder, LeanTwin
from omnikit.backbones.reading import ModelReader, Reader
from omnikit.slots.backbone import Memory, Segment

SIZES = {
    "vocab_size": 20,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 400,
    "head_dim": 8,
}


def decoder(family: str, **changes: Any) -> Any:
    """A random model of a family whose norms and biases are not what they start as."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SIZES, **changes})
    model = AutoModelForCausalLM.from_config(config).base_model.eval()
    for name, weight in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(weight, mean=1.0, std=0.3)
    return model


@torch.no_grad()
def read(reader: Reader, embeds: Tensor, pads: Tensor, cuts: list[int]) -> Tensor:
    """Hidden states of a batch that is read in pieces, which end at `cuts`."""
    reading, mask = reader.begin(), (torch.arange(embeds.shape[1]) >= pads[:, None]).long()
    places = (mask.cumsum(1) - 1).clamp(min=0)
    found = []
    for start, stop in zip([0, *cuts], [*cuts, embeds.shape[1]], strict=True):
        seen = mask[:, :stop] if pads.any() else None
        found.append(reading.read(embeds[:, start:stop], places[:, start:stop], seen))
    return torch.cat(found, 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pads", [[0, 0, 0], [0, 3, 1]])
def test_what_is_read_is_what_transformers_reads(family: str, pads: list[int]) -> None:
    model = decoder(family, **({"sliding_window": None} if family == "mistral" else {}))
    embeds, before = torch.randn(3, 300, 32), torch.tensor(pads)
    with torch.no_grad():
        lean = LeanTwin().of(model)
    assert lean is not None
    expected = read(ModelReader(model), embeds, before, [])
    real = torch.arange(300) >= before[:, None]
    for cuts in ([], [5], [4, 5, 6, 140, 141, 299]):  # a block is full at 128 and grows
        torch.testing.assert_close(read(lean, embeds, before, cuts)[real], expected[real], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_reading_that_is_cut_goes_on_from_there() -> None:
    lean, embeds = LeanTwin().of(decoder("qwen2")), torch.randn(1, 9, 32)
    assert lean is not None
    places = torch.arange(9)[None]
    reading = lean.begin()
    whole = reading.read(embeds, places, None)
    assert reading.cut(4)
    torch.testing.assert_close(reading.read(embeds[:, 4:], places[:, 4:], None), whole[:, 4:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_reader_follows_weights_and_leaves_what_it_cannot_read() -> None:
    model, twin = decoder("qwen2"), LeanTwin()
    first = twin.of(model)
    assert isinstance(first, LeanDecoder) and twin.of(model) is first
    model.layers[0].mlp.up_proj.weight.mul_(2.0)
    assert twin.of(model) not in (None, first)
    assert twin.of(model.train()) is None
    with torch.enable_grad():
        assert twin.of(model.eval()) is None
    for other in (
        decoder("qwen2").bfloat16(),
        decoder("qwen2", hidden_act="gelu"),
        decoder("mistral", sliding_window=8),
        decoder("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1),
        decoder("phi3", pad_token_id=0),
    ):
        assert twin.of(other) is None


def test_adapted_layers_are_read_by_transformers(make: Callable[..., HFCausal]) -> None:
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": ["q_proj"]}
    with torch.no_grad():
        assert LeanTwin().of(make().model) is not None
        assert LeanTwin().of(make(lora=lora).model) is None


def test_a_memory_of_other_weights_is_not_used(make: Callable[..., HFCausal]) -> None:
    backbone, memory = make(), Memory()

    def said(memory: Memory | None) -> str:
        prompt = [Segment(text="what color is the star")]
        return "".join(backbone.stream(prompt, generator=torch.Generator(), max_new_tokens=8, memory=memory))

    assert said(memory) == said(memory) and memory.reused > 0
    with torch.no_grad():
        for weight in backbone.model.layers.parameters():
            weight.add_(torch.randn_like(weight))
    assert said(memory) == said(None)
