"""Packed sequences against the same sequences one by one: loss, gradients, attention, and which models can pack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from omnikit.backbones import packing as packing_module
from omnikit.backbones.attention import attend, use_attention
from omnikit.backbones.hf_causal import HFCausal
from omnikit.backbones.packing import GROUP_RANGE, Packing, can_pack, read_packed, similar
from omnikit.slots.backbone import Segment

CPU = torch.device("cpu")
LENGTHS = [3, 17, 1, 4, 9, 4]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_a_row_is_cut_into_groups_and_joined_again(lengths: list[int]) -> None:
    packing = Packing.of(lengths, CPU)
    row = torch.arange(sum(lengths), dtype=torch.float)
    assert torch.equal(packing.join(packing.split(row)), row)
    assert packing.positions.tolist() == [place for length in lengths for place in range(length)]
    own = [sorted(lengths[number] for number in group) for group in similar(lengths)]
    assert sorted(length for group in own for length in group) == sorted(lengths)
    assert all(group[-1] <= GROUP_RANGE * group[0] for group in own)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_sequence_attends_to_itself_alone(dtype: torch.dtype, window: int | None) -> None:
    draws = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, sum(LENGTHS), 8, generator=draws).to(dtype) for heads in (4, 2, 2))
    module = nn.Module()
    module.num_key_value_groups = 2
    options = {"scaling": 8**-0.5, "sliding_window": window}
    found, _ = attend(module, query, key, value, None, Packing.of(LENGTHS, CPU), **options)
    start = 0
    for length in LENGTHS:
        steps = torch.arange(length)
        back = steps[:, None] - steps
        seen = (back >= 0) & (back < (window or length))
        own = [each[:, :, start : start + length].float().repeat_interleave(4 // each.shape[1], 1)
               for each in (query, key, value)]  # fmt: skip
        alone = nn.functional.scaled_dot_product_attention(*own, attn_mask=seen).transpose(1, 2)
        tolerance = 1e-5 if dtype == torch.float32 else 3e-2
        torch.testing.assert_close(found[:, start : start + length].float(), alone, atol=tolerance, rtol=tolerance)
        start += length


def lessons(width: int, features: Tensor) -> list[list[Segment]]:
    """Sequences of 3 to 30 positions, one with features."""
    end = Segment(control="end", train=True)
    rows = [
        [Segment(text="a b"), Segment(units=((number,) * (3 * number + 1),), train=True), end] for number in range(8)
    ]
    return [*rows, [Segment(frames=features), Segment(text="the star is red", train=True), end]]


def one_by_one(backbone: HFCausal, rows: list[list[Segment]]) -> Tensor:
    """The loss of the whole batch from unpadded rows read alone by the model itself."""
    total, count = torch.zeros(()), 0
    for row in rows:
        batch = backbone._rows([row])
        hidden = backbone.model(inputs_embeds=backbone._embed(batch, batch.length), use_cache=False).last_hidden_state[
            0
        ]
        places = torch.tensor([place for _, place in batch.trained])
        target = torch.tensor(batch.ids[0])[places]
        total = total + nn.functional.cross_entropy(backbone._logits(hidden[places - 1]), target, reduction="sum")
        count += len(places)
    return total / count


def loss_and_gradients(
    backbone: HFCausal, loss: Callable[[list[list[Segment]]], Tensor]
) -> tuple[Tensor, list[Tensor]]:
    features = torch.randn(5, backbone.width, generator=torch.Generator().manual_seed(2)).requires_grad_()
    backbone.zero_grad()
    found = loss(lessons(backbone.width, features))
    found.backward()
    return found.detach(), [features.grad, *(item.grad for item in backbone.parameters() if item.grad is not None)]


def expect_the_same(backbone: HFCausal) -> None:
    packed, own = loss_and_gradients(backbone, lambda rows: backbone.loss(rows).total)
    alone, expected = loss_and_gradients(backbone, lambda rows: one_by_one(backbone, rows))
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=0)
    assert len(own) == len(expected) > 5
    for ours, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("packs", [True, False])
def test_loss_and_gradients_are_those_of_sequences_alone(
    backbone: HFCausal, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_pack(backbone.model)
    rows: list[int] = []
    backbone.model.register_forward_hook(
        lambda module, given, kwargs, out: rows.append(kwargs["inputs_embeds"].shape[0]), with_kwargs=True
    )
    monkeypatch.setattr(backbone.model, "_supports_attention_backend", packs, raising=False)
    backbone.loss(lessons(32, torch.zeros(5, 32)))
    assert (rows == [1]) is packs
    expect_the_same(backbone)


def test_activations_may_be_computed_again(backbone: HFCausal) -> None:
    plain, expected = loss_and_gradients(backbone, lambda rows: backbone.loss(rows).total)
    backbone.model.gradient_checkpointing_enable()
    backbone.model.train()
    again, found = loss_and_gradients(backbone, lambda rows: backbone.loss(rows).total)
    torch.testing.assert_close(again, plain)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def expect_alone(model: nn.Module, width: int) -> None:
    """Packed sequences are read as each is alone."""
    row = torch.randn(sum(LENGTHS), width, generator=torch.Generator().manual_seed(1))
    read = read_packed(model, row, Packing.of(LENGTHS, CPU)).split(LENGTHS)
    for own, alone in zip(read, row.split(LENGTHS), strict=True):
        expected = model(inputs_embeds=alone[None], use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)


EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 8},
    "mistral": {"head_dim": 8, "sliding_window": 4},
    "qwen3": {"head_dim": 8},
    "qwen3_moe": {"head_dim": 8, "num_experts": 4, **EXPERTS},
    "phi3": {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None},
    "glm4": {"head_dim": 8, "pad_token_id": None, "eos_token_id": None},
    "deepseek_v3": {
        **LATENT,
        **EXPERTS,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
}
"""Sizes of small models beside those that all of them share; `deepseek_v3` has values narrower than its keys."""


@pytest.mark.parametrize("kind", FAMILIES)
def test_other_models_pack_as_they_read_alone(kind: str) -> None:
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = AutoConfig.for_model(kind, vocab_size=40, intermediate_size=48, **{**sizes, **FAMILIES[kind]})
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval()
    use_attention(model)
    assert can_pack(model)
    expect_alone(model, 32)


def test_kernels_of_transformers_are_told_where_sequences_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaConfig, LlamaModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    torch.manual_seed(0)
    model = LlamaModel._from_config(LlamaConfig(vocab_size=40, **sizes), attn_implementation="eager").eval()
    assert not can_pack(model)  # a dense mask of the whole row would be needed, as is the case in this test
    monkeypatch.setattr(packing_module, "VARLEN", ("eager",))
    assert can_pack(model)
    expect_alone(model, 32)


def test_a_model_with_recurrent_layers_cannot_pack() -> None:
    from transformers import AutoModel, MambaConfig

    model = AutoModel.from_config(MambaConfig(vocab_size=9, hidden_size=8, state_size=4, num_hidden_layers=1))
    assert not can_pack(model)
    expect_alone(model, 8)


def test_no_mask_as_large_as_the_row_is_made(backbone: HFCausal, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    split = Packing.split
    monkeypatch.setattr(
        packing_module.Packing, "split", lambda self, row: seen.append(tuple(row.shape)) or split(self, row)
    )
    mask = []
    backbone.model.layers[0].register_forward_pre_hook(
        lambda module, given, kwargs: mask.append(kwargs["attention_mask"].numel()), with_kwargs=True
    )
    backbone.loss(lessons(32, torch.zeros(5, 32)))
    assert mask == [1] and len(seen) == 3 * len(backbone.model.layers)
