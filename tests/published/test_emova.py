"""Checkpoints in the layout of EMOVA's own training code: whole, in parts, in shards, and all that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from published.origin import TEMPLATE, every_id_a_unit, write_origin
from safetensors.torch import load_file, save_file
from torch import Tensor

import omnikit
from omnikit.cli import main
from omnikit.errors import OmnikitError, WeightsError
from omnikit.formats.chain import TASKS
from omnikit.published.emova import PROJECTOR, TOWER, UNITS_UNKNOWN
from omnikit.slots.backbone import Segment
from omnikit.types import Images

LLM = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 48,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "tie": False,
}
NUM_UNITS = 39
State = dict[str, Tensor]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def state() -> State:
    """Random tensors of a small system, by their published names."""
    torch.manual_seed(0)
    tower = omnikit.create("vision_encoder/qwen2_vit", dim=32, depth=2, heads=2, out_dim=12, patch_size=4)
    projector = omnikit.create("projector/mlp", in_dim=12, out_dim=24)
    units: dict[str, Any] = {"codebooks": [8], "unit_rate": 25, "layout": "reduced", "vocab_id": "v"}
    sizes = {"hidden": 24, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate": 48, "max_positions": 64}
    backbone = omnikit.create("backbone/hf_causal", **sizes, **units)
    found = {TOWER + name.removeprefix("net."): value for name, value in tower.state_dict().items()}
    found |= {PROJECTOR + name: value for name, value in projector.state_dict().items()}
    found |= dict(backbone.state_dict())
    found["model.embed_tokens.weight"] = torch.randn(LLM["vocab_size"], 24)
    found["lm_head.weight"] = torch.randn(LLM["vocab_size"], 24)
    return found


@pytest.fixture
def write(tmp_path: Path, state: State) -> Write:
    def make(changes: State | None = None, without: tuple[str, ...] = (), **settings: Any) -> Path:
        kept = {name: value for name, value in {**state, **(changes or {})}.items() if name not in without}
        given = {"tokenizer": every_id_a_unit(NUM_UNITS), **settings}
        llm = {**LLM, "tie": given.pop("tie", False)}
        return write_origin(tmp_path / "emova", kept, llm, 2, given.pop("tokenizer"), **given)

    return make


@pytest.mark.parametrize("shards", [1, 3])
def test_a_whole_system_answers_with_the_checkpoints_own_weights(write: Write, state: State, shards: int) -> None:
    system = omnikit.load(str(write(shards=shards)))
    assert set(system.parts) == {"vision_encoder", "projector", "backbone", "format"}
    assert system.part("format").parameters_given and type(system.part("format")).__name__ == "EmovaJsonFormat"
    backbone = system.part("backbone")
    table = backbone.model.get_input_embeddings().weight
    assert torch.equal(table[:40], state["model.embed_tokens.weight"])
    torch.testing.assert_close(table[40], state["model.embed_tokens.weight"].mean(0))
    assert torch.equal(system.part("projector").state_dict()["2.bias"], state[f"{PROJECTOR}2.bias"])
    assert (backbone.codebooks, backbone.max_positions, backbone.vocab_id) == ((NUM_UNITS,), 64, UNITS_UNKNOWN)
    pictures = Images.of([torch.rand(3, 56, 64), torch.rand(3, 64, 56)])
    seen = system.look(pictures)
    prompts = [[Segment(frames=row), Segment(units=((3, 1),))] for row in seen]
    written = backbone.generate(prompts, generator=torch.Generator(), max_new_tokens=4)
    assert all(
        max(row.ids, default=0) < 40 for row in written
    )  # rows that the checkpoint lacks are never the likeliest


@pytest.mark.parametrize("slot", ["vision_encoder", "projector", "backbone"])
def test_a_part_loads_alone_and_is_the_part_of_the_whole(write: Write, slot: str) -> None:
    folder = write(shards=2)
    alone, whole = omnikit.load(f"{folder}#{slot}"), omnikit.load(str(folder)).part(slot)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in alone.state_dict().items())
    assert alone.contract(**alone.parameters_given) == whole.contract(**whole.parameters_given)


def test_a_file_of_the_first_stage_is_a_projector(tmp_path: Path, state: State) -> None:
    path = tmp_path / "mm_projector.bin"
    torch.save({name: value for name, value in state.items() if name.startswith(PROJECTOR)}, path)
    assert torch.equal(omnikit.load(str(path)).state_dict()["0.weight"], state[f"{PROJECTOR}0.weight"])


def test_it_becomes_ordinary_trained_parts_that_need_the_checkpoint_no_more(write: Write, tmp_path: Path) -> None:
    folder, out = write(), tmp_path / "parts"
    before = omnikit.load(f"{folder}#backbone")
    assert main(["load", str(folder), "--out", str(out)]) == 0
    for file in folder.iterdir():
        file.unlink()
    system = omnikit.load(str(out))
    after = system.part("backbone")
    assert after.units.ids([[5, 7]]) == before.units.ids([[5, 7]]) and after.text.controls == before.text.controls
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())


def test_turns_are_refused_without_the_checkpoints_template(write: Write) -> None:
    folder = write(template=None)
    system = omnikit.load(str(folder))
    backbone, form = system.part("backbone"), system.part("format")
    read = [Segment(units=((3, 1),))]
    assert backbone.generate([read], generator=torch.Generator(), max_new_tokens=2)  # units alone need no template
    prompt = form.prompt("asr", [Segment(units=((3, 1),))])
    with pytest.raises(OmnikitError, match="has no chat template") as told:
        backbone.generate([prompt], generator=torch.Generator(), max_new_tokens=2)
    assert str(folder) in str(told.value) and "chat_template.jinja" in str(told.value)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    again = omnikit.load(f"{folder}#backbone")
    assert again.generate([prompt], generator=torch.Generator(), max_new_tokens=2)


def test_a_template_that_cannot_be_used_is_named_as_such(write: Write) -> None:
    with pytest.raises(OmnikitError, match="chat template of this model cannot be used: it leaves out what the user"):
        omnikit.load(str(write(template="{% for m in messages %}<|im_end|>{% endfor %}")))


def test_it_is_asked_with_the_sentences_of_the_users_copy(write: Write, tmp_path: Path) -> None:
    folder = write()
    sentences = {task: f"{task} as in the copy:" for task in TASKS}
    (folder / "prompts.json").write_text(json.dumps(sentences))
    system = omnikit.load(str(folder), prompts=folder)
    asked = system.part("format").prompt("asr", [Segment(units=((3, 1),))])
    assert [item.text or item.units for item in asked if not item.control] == ["asr as in the copy:", ((3, 1),)]
    system.save(tmp_path / "saved")
    for file in folder.iterdir():
        file.unlink()
    assert omnikit.load(str(tmp_path / "saved")).part("format").questions == sentences
    for other in (f"{folder}#backbone", "tiny", str(tmp_path / "saved")):
        with pytest.raises(OmnikitError, match="whole checkpoint that others published"):
            omnikit.load(other, prompts=folder)


def test_the_command_takes_the_users_sentences_too(write: Write, tmp_path: Path, state: State) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({task: f"{task}:" for task in TASKS}))
    command = ["load", str(write()), "--prompts", str(tmp_path / "mine.json"), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert omnikit.load(str(tmp_path / "out")).part("format").questions["asr"] == "asr:"
    torch.save({name: value for name, value in state.items() if name.startswith(PROJECTOR)}, tmp_path / "p.bin")
    assert main(["load", str(tmp_path / "p.bin"), *command[2:4], "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_conversations_begin_with_the_published_sentence(write: Write) -> None:
    backbone = omnikit.load(f"{write()}#backbone")
    assert backbone.parameters_given["system"] == "You are a helpful assistant."
    opening = backbone.text.encode("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    assert list(backbone.text.controls["start"])[: len(opening)] == opening


def test_units_in_any_order_keep_their_ids(write: Write) -> None:
    tokenizer = every_id_a_unit(NUM_UNITS)
    order = torch.randperm(NUM_UNITS, generator=torch.Generator().manual_seed(1)).tolist()
    for token, unit in zip(tokenizer["added_tokens"], order, strict=False):
        token["content"] = f"<|speech_{unit}|>"
    tokenizer["model"]["vocab"] = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    backbone = omnikit.load(f"{write(tokenizer=tokenizer)}#backbone")
    assert backbone.units.ids([order]) == list(range(NUM_UNITS))
    assert backbone.parse_units(backbone.unit_text([[4, 0, 38]])) == ((4, 0, 38),)


def test_a_tied_output_is_taken_once_and_must_be_the_embeddings(write: Write, state: State) -> None:
    same = {"lm_head.weight": state["model.embed_tokens.weight"]}
    assert omnikit.load(f"{write(same, tie=True)}#backbone").lm_head is None
    assert omnikit.load(f"{write(without=('lm_head.weight',), tie=True)}#backbone").lm_head is None
    with pytest.raises(WeightsError, match="tied"):
        omnikit.load(f"{write(tie=True)}#backbone")


def test_missing_unknown_and_misshapen_tensors_are_named(write: Write, state: State) -> None:
    lost = "model.layers.1.mlp.up_proj.weight"
    with pytest.raises(WeightsError, match=f"missing {lost}"):
        omnikit.load(str(write(without=(lost,))))
    with pytest.raises(WeightsError, match=r"unknown model\.image_newline"):
        omnikit.load(str(write({"model.image_newline": torch.zeros(24)})))
    with pytest.raises(WeightsError, match=r"net\.blocks\.0\.attn\.proj\.weight is \[32, 31\]"):
        omnikit.load(str(write({f"{TOWER}blocks.0.attn.proj.weight": torch.zeros(32, 31)})))


def test_shards_that_are_missing_cut_off_or_do_not_agree_are_named(write: Write) -> None:
    folder = write(shards=3)
    shard = folder / "model-00002-of-00003.safetensors"
    whole, tensors = shard.read_bytes(), {name: value.clone() for name, value in load_file(shard).items()}
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"model-00002-of-00003\.safetensors is no readable"):
        omnikit.load(str(folder))
    lost, *_ = sorted(tensors)
    save_file({name: value for name, value in tensors.items() if name != lost}, shard)
    with pytest.raises(WeightsError, match=f"missing {lost} .in model-00002"):
        omnikit.load(str(folder))
    shard.unlink()
    with pytest.raises(WeightsError, match=r"needs model-00002-of-00003\.safetensors"):
        omnikit.load(str(folder))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../secret.safetensors"}}))
    with pytest.raises(WeightsError, match="no file beside it"):
        omnikit.load(str(folder))
    index.write_text("{")
    with pytest.raises(WeightsError, match="no index of shards"):
        omnikit.load(str(folder))


def test_without_its_tokenizer_or_config_a_language_model_is_refused(write: Write) -> None:
    folder = write(tokenizer=None)
    with pytest.raises(WeightsError, match=r"no readable tokenizer\.json"):
        omnikit.load(f"{folder}#backbone")
    assert omnikit.load(f"{folder}#projector")
    few = every_id_a_unit(NUM_UNITS)
    few["added_tokens"], few["model"]["vocab"] = few["added_tokens"][1:], {"a": 0}
    with pytest.raises(WeightsError, match=r"not <\|speech_0\|> to"):
        omnikit.load(f"{write(tokenizer=few)}#backbone")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"needs the config\.json"):
        omnikit.load(f"{folder}#backbone")


def test_a_whole_system_is_no_published_language_model(write: Write) -> None:
    units: dict[str, Any] = {"codebooks": [8], "unit_rate": 25, "layout": "reduced", "vocab_id": "v"}
    with pytest.raises(OmnikitError, match="whole system"):
        omnikit.create("backbone/hf_causal", pretrained=str(write()), hidden=24, max_positions=64, **units)
