"""Adapters, embeddings of which only new rows learn, kinds of attention, and tensors without memory."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from backbones.conftest import lesson, publish

from omnikit.artefacts import load_component, read_weights, save_component
from omnikit.backbones.hf_causal import HFCausal
from omnikit.errors import OmnikitError, UnknownName, WeightsError

UNITS: dict[str, Any] = {"codebooks": [16], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
SIZES: dict[str, Any] = {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate": 48, "max_positions": 64}
ADAPTED = {"lora": {"rank": 4, "alpha": 8.0}}


def make(seed: int = 0, **changes: Any) -> HFCausal:
    torch.manual_seed(seed)
    return HFCausal(**{**SIZES, **UNITS, **changes})


def learn(backbone: HFCausal, steps: int = 3) -> float:
    optimizer = torch.optim.AdamW([item for item in backbone.parameters() if item.requires_grad], lr=1e-2)
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = backbone.loss(lesson(backbone)).total
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_adapters_do_nothing_until_they_learn_and_only_they_learn() -> None:
    plain = make()
    adapted = make(**ADAPTED, embeddings="none")
    torch.testing.assert_close(adapted.loss(lesson(adapted)).total, plain.loss(lesson(plain)).total)
    learning = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert len(learning) == 2 * 2 * 7 and all(".lora_" in name for name in learning)
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    learn(adapted.requires_grad_(True), steps=2)
    changed = {name for name, value in adapted.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(".lora_" in name for name in changed)
    adapted.requires_grad_(False)
    assert not any(weight.requires_grad for weight in adapted.parameters())


def test_adapters_are_saved_beside_weights_that_keep_their_names(tmp_path: Path) -> None:
    plain, adapted = make(), make(**ADAPTED)
    learn(adapted, steps=2)
    save_component(plain, tmp_path / "plain")
    save_component(adapted, tmp_path / "adapted")
    names = set(read_weights(tmp_path / "adapted"))
    assert set(read_weights(tmp_path / "plain")) < names
    back = load_component(tmp_path / "adapted")
    torch.testing.assert_close(back.loss(lesson(back)).total, adapted.eval().loss(lesson(adapted)).total)


def test_adapters_start_on_weights_that_had_none_but_not_on_half_of_their_own(tmp_path: Path) -> None:
    from omnikit.artefacts import fill, fill_from

    plain, adapted = make(seed=1), make(**ADAPTED)
    save_component(plain, tmp_path / "plain")
    fill(adapted, tmp_path / "plain")
    torch.testing.assert_close(adapted.loss(lesson(adapted)).total, plain.loss(lesson(plain)).total)
    save_component(adapted, tmp_path / "adapted")
    half = read_weights(tmp_path / "adapted")
    lost = next(name for name in half if "lora_B" in name)
    with pytest.raises(WeightsError, match=r"missing .*lora_B"):
        fill_from(adapted, {name: value for name, value in half.items() if name != lost}, "half")


def test_what_was_adapted_is_saved_as_adapters_and_a_reference(tmp_path: Path) -> None:
    plain = make()
    save_component(plain, tmp_path / "plain")
    adapted = make(**ADAPTED, embeddings="none")
    learn(adapted, steps=2)
    save_component(adapted, tmp_path / "adapted", base=str(tmp_path / "plain"))
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("plain", "adapted")]
    assert sizes[1] < sizes[0] / 2
    back = load_component(tmp_path / "adapted")
    torch.testing.assert_close(back.loss(lesson(back)).total, adapted.eval().loss(lesson(adapted)).total)


@pytest.mark.parametrize(
    ("lora", "error", "match"),
    [
        ({"rank": 4, "targets": ["w_proj"]}, UnknownName, "q_proj"),
        ({"rank": 4, "alpha": 0.0}, OmnikitError, "alpha > 0"),
        ({"rank": 4, "dropout": 1.0}, OmnikitError, "dropout"),
        ({"ranks": 4}, UnknownName, "rank"),
    ],
)
def test_adapters_that_cannot_be_made_are_refused(lora: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make(lora=lora)


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(importlib, "import_module", gone)
    with pytest.raises(OmnikitError, match=r"omnikit-core\[lora\]"):
        make(**ADAPTED)


@pytest.mark.parametrize("tied", [True, False])
def test_only_new_rows_of_a_published_table_learn(tmp_path: Path, tied: bool) -> None:
    folder = publish(tmp_path, tied=tied)
    torch.manual_seed(0)
    backbone = HFCausal(pretrained=str(folder), hidden=32, max_positions=64, embeddings="new", **UNITS)
    old = backbone.text.num_learnt
    tables = backbone.undecayed()
    assert len(tables) == (1 if tied else 2) and 0 < old < backbone.units.first
    before = [table.detach().clone() for table in tables]
    loss = backbone.loss(lesson(backbone)).total
    whole = HFCausal(pretrained=str(folder), hidden=32, max_positions=64, **UNITS)
    whole.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(loss, whole.loss(lesson(whole)).total)
    optimizer = torch.optim.AdamW(
        [{"params": tables, "weight_decay": 0.0}, {"params": list(backbone.model.layers.parameters())}], lr=1e-2
    )
    loss.backward()
    optimizer.step()
    for table, was in zip(tables, before, strict=True):
        assert torch.equal(table[:old], was[:old])
        assert not torch.equal(table[old:], was[old:])


def test_rows_are_all_new_or_none(tmp_path: Path) -> None:
    with pytest.raises(OmnikitError, match="published"):
        make(embeddings="new")
    with pytest.raises(UnknownName, match="all"):
        make(embeddings="most")
    frozen = make(embeddings="none")
    assert not frozen.model.get_input_embeddings().weight.requires_grad
    assert all(weight.requires_grad for weight in frozen.model.layers.parameters())


def test_another_kind_of_attention_computes_the_same() -> None:
    usual, other = make().eval(), make(attention="eager").eval()
    with torch.no_grad():
        losses = [each.loss(lesson(each)).total for each in (usual, other)]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)


def test_attention_that_is_unknown_or_cannot_run_is_refused() -> None:
    with pytest.raises(UnknownName, match="sdpa"):
        make(attention="flashy")
    if not torch.cuda.is_available():
        for kind in ("flash_attention_2", "flash_attention_3"):
            with pytest.raises(OmnikitError, match="cannot run here: its kernels are for CUDA") as told:
                make(attention=kind)
            assert "attention=sdpa runs everywhere" in str(told.value)


def test_the_skeleton_has_every_tensor_and_no_memory() -> None:
    for changes in ({}, ADAPTED):
        whole = make(**changes)
        bones = HFCausal.skeleton(whole.parameters_given)
        assert {name: value.shape for name, value in bones.state_dict().items()} == {
            name: value.shape for name, value in whole.state_dict().items()
        }
        assert all(value.is_meta for value in bones.state_dict().values())
    published = {**make().parameters_given, "pretrained": "Qwen/Qwen2.5-3B-Instruct", "codebooks": [4096]}
    bones = HFCausal.skeleton({**published, **ADAPTED, "embeddings": "none"})
    assert bones.model.get_input_embeddings().weight.shape == (155_776, 2048)
    assert all(".lora_" in name for name, weight in bones.named_parameters() if weight.requires_grad)
    with pytest.raises(OmnikitError, match="not known here"):
        HFCausal.skeleton({**published, "pretrained": "somebody/something"})
