"""Strategies by name, activations that are recomputed, blocks that are compiled, and what a stage takes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from backbones.conftest import publish
from stages.test_language import EIGHT, MIXED, batch_of, make
from torch import nn

import omnikit
from omnikit.backbones.hf_causal import HFCausal
from omnikit.cli import main
from omnikit.cli.config import compose_config
from omnikit.errors import OmnikitError, UnknownName
from omnikit.stages.language import LanguageStage
from omnikit.stages.optim import Optim
from omnikit.training.choices import plan_of
from omnikit.training.memory import skeleton, stage_memory
from omnikit.training.progress import read_saved, remove_saved
from omnikit.training.sharding import (
    UNUSED,
    Sharded,
    blocks_of,
    checkpoint_activations,
    compile_blocks,
    strategy_of,
)
from omnikit.training.zero import OWN, ZeRO, zero_config

SETTINGS = {"devices": 1, "num_nodes": 1, "strategy": "auto", "precision": "bf16-mixed", "gradient_clip": 1.0}
RATES = {"projector": 1e-3, "backbone": 1e-3}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "auto"),
        ({"devices": 2}, UNUSED),
        ({"num_nodes": 2}, UNUSED),
        ({"devices": [0, 1]}, UNUSED),
        ({"strategy": "ddp"}, UNUSED),
    ],
)
def test_several_devices_share_by_copies(changes: dict[str, Any], expected: str) -> None:
    assert strategy_of({**SETTINGS, **changes}) == expected


def test_strategies_go_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(strategy_of({**SETTINGS, "strategy": "fsdp2"}), Sharded)
    with pytest.raises(UnknownName, match="Did you mean 'fsdp2'"):
        strategy_of({**SETTINGS, "strategy": "fsdp"})
    monkeypatch.setattr(importlib, "import_module", lambda name: (_ for _ in ()).throw(ModuleNotFoundError(name)))
    for stage in (1, 2, 3):
        with pytest.raises(OmnikitError, match=r"omnikit-core\[deepspeed\]"):
            strategy_of({**SETTINGS, "strategy": f"deepspeed_stage_{stage}"})


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_is_told_what_the_trainer_says(stage: int) -> None:
    changes = ("experiment=emova_7b", "stage=sft", "trainer=deepspeed", f"trainer.strategy=deepspeed_stage_{stage}")
    settings = compose_config("train", changes)["trainer"]
    config = zero_config(settings)
    assert json.loads(json.dumps(config)) == config
    assert config["zero_optimization"]["stage"] == stage and config["gradient_clipping"] == 1.0
    assert config["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert not [name for name in config["zero_optimization"] if "offload" in name]
    assert "torch_autocast" not in zero_config({**settings, "precision": "32-true"})
    with pytest.raises(OmnikitError, match="weights stay float32"):
        zero_config({**settings, "precision": "bf16-true"})
    with pytest.raises(OmnikitError, match=r"trainer\.micro_tokens=null"):
        zero_config({**settings, "micro_tokens": 1024})


def test_the_strategy_of_deepspeed_holds_its_config() -> None:
    pytest.importorskip("deepspeed")
    strategy = strategy_of({**SETTINGS, "strategy": "deepspeed_stage_3"})
    assert isinstance(strategy, ZeRO) and strategy.zero_stage_3
    batch = batch_of(MIXED)
    assert strategy.precision_plugin.convert_input(batch) is batch


def test_a_checkpoint_may_be_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "file.ckpt", tmp_path / "folder.ckpt"):
        if path.stem == "folder":
            path.mkdir()
        torch.save({"omnikit_step": 3}, path / OWN if path.is_dir() else path)
        assert read_saved(path) == {"omnikit_step": 3}
        remove_saved(path)
        assert not path.exists()
    remove_saved(tmp_path / "none.ckpt")


def test_larger_batches_than_fit_are_planned_in_pieces() -> None:
    config = compose_config("train", ["experiment=emova_3b", "stage=sft"])
    assert config["trainer"]["micro_tokens"] == 8192 < config["stage"]["settings"]["batch_tokens"] // 8
    plan, _ = plan_of(config)
    parts = {slot: skeleton(node.component, plan.parameters[slot]) for slot, node in plan.nodes.items()}
    pieces = stage_memory(config, plan, parts, 8)
    whole = stage_memory({**config, "trainer": {**config["trainer"], "micro_tokens": None}}, plan, parts, 8)
    assert pieces.tokens == 8192 and whole.tokens == 12_500
    assert pieces.held["fsdp2"].activations < whole.held["fsdp2"].activations
    assert stage_memory(config, plan, parts, 64).tokens == 1563


def kept_by(stage: nn.Module) -> tuple[float, int, dict[str, torch.Tensor]]:
    """Loss, numbers kept for the backward pass, and gradients of one step."""
    kept: set[tuple[int, int]] = set()

    def note(value: torch.Tensor) -> torch.Tensor:
        kept.add((value.untyped_storage().data_ptr(), value.numel()))
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        loss = stage.training_step(batch_of(MIXED), 0)
    loss.backward()
    gradients = {name: weight.grad for name, weight in stage.named_parameters() if weight.grad is not None}
    return float(loss.detach()), sum(number for _, number in kept), gradients


def test_recomputed_activations_give_the_same_gradients_from_less() -> None:
    plain, lean = make(RATES), make(RATES)
    checkpoint_activations(lean)
    loss, kept, gradients = kept_by(plain)
    lean_loss, lean_kept, lean_gradients = kept_by(lean)
    assert loss == lean_loss and lean_kept < 0.8 * kept
    for name, value in gradients.items():
        torch.testing.assert_close(lean_gradients[name], value, msg=name)


def test_blocks_are_those_of_the_language_model_and_can_be_compiled() -> None:
    stage = make(RATES)
    assert list(blocks_of(stage)) == list(stage.backbone.model.layers)
    loss = float(stage.training_step(batch_of(MIXED), 0).detach())
    compile_blocks(stage)
    with torch.compiler.set_stance("force_eager"):
        assert float(stage.training_step(batch_of(MIXED), 0).detach()) == loss
    assert all(block._compiled_call_impl is not None for block in stage.backbone.model.layers)


def losses_of_steps(stage: LanguageStage) -> list[float]:
    """The losses of three steps of a training: two batches of different lengths, and the first one again."""
    optimizer = stage.configure_optimizers()["optimizer"]
    losses = []
    for samples in (MIXED, EIGHT[:2], MIXED):
        optimizer.zero_grad()
        loss = stage.training_step(batch_of(samples), len(losses))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_compiled_blocks_are_traced_and_learn_the_same() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = make(RATES), make(RATES)
    compile_blocks(compiled, backend="aot_eager")
    expected = losses_of_steps(plain)
    assert not torch._dynamo.utils.counters["stats"], "nothing is traced that was not asked for"
    try:
        losses = losses_of_steps(compiled)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
        assert torch._dynamo.utils.counters["aot_autograd"]["ok"] >= 1
    finally:
        torch._dynamo.reset()
    assert losses == pytest.approx(expected, rel=1e-5) and losses[2] < losses[0]


def test_what_cannot_be_recomputed_or_compiled_is_refused() -> None:
    with pytest.raises(OmnikitError, match="activation_checkpointing"):
        checkpoint_activations(nn.Linear(2, 2))
    with pytest.raises(OmnikitError, match=r"trainer\.compile"):
        compile_blocks(nn.Linear(2, 2))


def test_an_encoder_learns_from_its_middle_block_on() -> None:
    from omnikit.vision_encoders.clip import CLIPEncoder

    encoder = CLIPEncoder(image_size=32, patch_size=8, dim=16, depth=4, heads=2, layer=-2)
    encoder.requires_grad_(True).learn_from(1)
    learning = [any(weight.requires_grad for weight in block.parameters()) for block in encoder.blocks]
    assert learning == [False, True, True, False]
    with pytest.raises(OmnikitError, match="4 blocks"):
        encoder.learn_from(4)


@pytest.mark.parametrize(("size", "parameters"), [("3b", 3.781), ("7b", 8.344), ("72b", 73.54)])
def test_the_published_sizes_have_as_many_parameters_as_published(size: str, parameters: float) -> None:
    plan, _ = plan_of(compose_config("train", [f"experiment=emova_{size}"]))
    parts = [
        skeleton(plan.nodes[slot].component, plan.parameters[slot])
        for slot in ("vision_encoder", "projector", "backbone")
    ]
    found = sum(weight.numel() for part in parts for weight in part.parameters())
    assert round(found / 1e9, 3 if parameters < 10 else 2) == parameters


def test_a_plan_of_memory_counts_what_learns() -> None:
    config = compose_config("train", ["experiment=emova_tiny", "stage=sft", "trainer=fsdp2"])
    plan, _ = plan_of(config)
    parts = {slot: skeleton(node.component, plan.parameters[slot]) for slot, node in plan.nodes.items()}
    one, four = (stage_memory(config, plan, parts, devices) for devices in (1, 4))
    learning = sum(trainable for trainable, _ in one.parts.values())
    assert one.parts["vision_encoder"][0] == 0 and one.parts["backbone"][1] == 0 and learning > 0
    assert one.held["replicated"].moments == 8 * learning
    assert four.held["fsdp2"].moments == 8 * learning // 4
    assert four.held["fsdp2"].total < one.held["replicated"].total
    assert four.tokens == -(-config["stage"]["settings"]["batch_tokens"] // 4)


def test_info_says_what_every_stage_learns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "experiment=emova_3b", "--devices", "16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["stages"]) == ["prealign", "align", "sft"]
    assert told["stages"]["prealign"]["parts"]["projector"] == {"trainable": 11_538_432, "frozen": 0}
    assert told["stages"]["prealign"]["parts"]["backbone"]["trainable"] == 0
    assert 0 < told["stages"]["align"]["parts"]["vision_encoder"]["frozen"] < 675e6
    assert told["stages"]["sft"]["parts"]["vision_encoder"]["frozen"] == 0
    held = told["stages"]["sft"]["bytes_per_device"]
    assert held["fsdp2"]["moments"] * 16 == pytest.approx(held["replicated"]["moments"], rel=1e-6)
    assert main(["info", "experiment=emova_3b", "--devices", "0"]) == 2


def test_rows_that_learn_alone_are_not_decayed(tmp_path: Path) -> None:
    units: dict[str, Any] = {"codebooks": [16], "unit_rate": 25, "layout": "frame", "vocab_id": "test"}
    folder = publish(tmp_path, tied=False)
    backbone = HFCausal(pretrained=str(folder), hidden=32, max_positions=64, embeddings="new", **units)
    encoder = omnikit.create("vision_encoder/timm", image_size=32, dim=16, depth=1, heads=1)
    projector = omnikit.create("projector/mlp", in_dim=16, out_dim=32)
    optim = Optim(lr=1e-3, steps=2, weight_decay=0.1)
    form = omnikit.create("format/json")
    stage = LanguageStage(encoder, projector, backbone, form, optim, {"backbone": 1e-3})
    groups = {group["name"]: group for group in stage.configure_optimizers()["optimizer"].param_groups}
    assert [weight.shape[0] for weight in groups["backbone rows"]["params"]] == [384, 384]
    assert groups["backbone rows"]["weight_decay"] == 0.0 and groups["backbone"]["weight_decay"] == 0.1
    told = sum(len(group["params"]) for group in groups.values())
    assert told == len([weight for weight in backbone.parameters() if weight.requires_grad])
