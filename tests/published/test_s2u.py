"""Published speech-to-unit checkpoints: every container gives the same tokenizer, what does not fit is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import omnikit
from omnikit.cli import main
from omnikit.errors import UnknownName, WeightsError
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.types import Audio

SIZES: dict[str, Any] = {
    "num_mels": 16,
    "widths": [8, 64, 16, 128],
    "layers": [1, 2],
    "ffn_ratio": 2,
    "position": [8, 4],
    "levels": [8, 5, 5],
    "num_phones": 6,
    "decoder_dim": 8,
}
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def original() -> SpeechTokenizer:
    torch.manual_seed(0)
    return omnikit.create("tokenizer/spiral_fsq", heads=[1, 2], **SIZES).eval()


def speech() -> Audio:
    wave = torch.randn(1, 12_000, generator=torch.Generator().manual_seed(1))
    return Audio(0.3 * wave * torch.sin(torch.arange(12_000) / 900.0).square(), torch.tensor([12_000]), 16_000)


def raw(state: State, path: Path) -> Path:
    """As the original training wrote it: tensors beside counters."""
    torch.save({"state_dict": state, "epoch": 316, "callbacks": {"best": [0.0293]}}, path / "s2u.ckpt")
    return path / "s2u.ckpt"


def with_leftovers(state: State, path: Path) -> Path:
    return raw({**state, "_wer.scores": torch.zeros(1)}, path)


def wrapped(state: State, path: Path) -> Path:
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}}, path / "s2u.pth")
    return path / "s2u.pth"


def plain_pickle(state: State, path: Path) -> Path:
    torch.save(state, path / "s2u.pt")
    return path / "s2u.pt"


def container(state: State, path: Path) -> Path:
    """The published container: this model under `encoder.`, others beside it, weight norm as parametrisations."""
    spelled = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for name, value in state.items()
    }
    tensors = {f"encoder.{name}": value for name, value in spelled.items()}
    save_file({**tensors, "another_model.weight": torch.zeros(2, 3)}, path / "model.safetensors")
    return path / "model.safetensors"


def in_half(state: State, path: Path) -> Path:
    save_file({name: value.half() for name, value in state.items()}, path / "s2u.safetensors")
    return path / "s2u.safetensors"


@pytest.mark.parametrize("write", [raw, with_leftovers, wrapped, plain_pickle, container])
def test_every_container_gives_the_same_tokenizer(
    write: Callable[[State, Path], Path], original: SpeechTokenizer, tmp_path: Path
) -> None:
    path = write(original.state_dict(), tmp_path)
    loaded = omnikit.load(f"{path}#tokenizer")
    assert not loaded.training
    expected = {**SIZES, "heads": [1, 2]}
    assert {name: loaded.parameters_given[name] for name in expected} == expected
    state = loaded.state_dict()
    assert all(torch.equal(state[name], value) for name, value in original.state_dict().items())
    assert torch.equal(loaded.encode(speech()).codes, original.encode(speech()).codes)


def test_a_half_precision_file_becomes_float32(original: SpeechTokenizer, tmp_path: Path) -> None:
    loaded = omnikit.load(str(in_half(original.state_dict(), tmp_path)))
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    assert torch.equal(loaded.pre_quant.weight, original.pre_quant.weight.half().float())


def test_the_vocabulary_is_named_after_the_weights(original: SpeechTokenizer, tmp_path: Path) -> None:
    state = original.state_dict()
    one = omnikit.load(str(raw(state, tmp_path)))
    same = omnikit.load(f"{container(state, tmp_path)}#tokenizer")
    state["pre_quant.bias"] = state["pre_quant.bias"] + 1
    other = omnikit.load(str(wrapped(state, tmp_path)))
    assert one.vocab_id == same.vocab_id == one.encode(speech()).vocab_id
    assert one.vocab_id.startswith("tokenizer-") and other.vocab_id != one.vocab_id


def test_what_does_not_fit_is_named(original: SpeechTokenizer, tmp_path: Path) -> None:
    state = original.state_dict()
    del state["pre_quant.bias"]
    state["pre_quant.scale"] = torch.ones(1)
    state["encoder.mask_emb"] = torch.zeros(17)
    with pytest.raises(WeightsError) as caught:
        omnikit.load(str(raw(state, tmp_path)))
    message = str(caught.value)
    assert "s2u.ckpt does not fit SpiralFSQ" in message
    for part in ("missing pre_quant.bias", "unknown pre_quant.scale", "encoder.mask_emb is [17], expected [16]"):
        assert part in message


def test_many_misfits_stay_eight_lines(original: SpeechTokenizer, tmp_path: Path) -> None:
    state = {name: value for name, value in original.state_dict().items() if "self_attn" not in name}
    with pytest.raises(WeightsError, match=r"missing .*self_attn(.|\n)* … and \d+ more") as caught:
        omnikit.load(str(raw(state, tmp_path)))
    assert len(str(caught.value).splitlines()) <= 8


def test_sizes_that_cannot_be_read_are_named(original: SpeechTokenizer, tmp_path: Path) -> None:
    state = original.state_dict()
    del state["quantizer._levels_np"]
    with pytest.raises(WeightsError, match=r"lacks quantizer\._levels_np"):
        omnikit.load(str(raw(state, tmp_path)))
    strange = omnikit.create("tokenizer/spiral_fsq", **{**SIZES, "widths": [8, 64, 16, 24]}, heads=[1, 2]).state_dict()
    with pytest.raises(WeightsError, match="width 24"):
        omnikit.load(str(raw(strange, tmp_path)))


def test_a_tensor_in_two_spellings_is_refused(original: SpeechTokenizer, tmp_path: Path) -> None:
    name = "encoder.feature_encoder.block_modules.3.pos_conv.0"
    state = original.state_dict()
    state[f"{name}.parametrizations.weight.original0"] = state[f"{name}.weight_g"]
    with pytest.raises(WeightsError, match=r"weight_g in two spellings"):
        omnikit.load(str(raw(state, tmp_path)))


def test_two_models_in_one_file_are_refused(original: SpeechTokenizer, tmp_path: Path) -> None:
    twice = {f"{who}.{name}": value for who in ("student", "teacher") for name, value in original.state_dict().items()}
    with pytest.raises(WeightsError, match="2 times"):
        omnikit.load(str(raw(twice, tmp_path)))


def test_a_part_that_is_not_there_is_refused(original: SpeechTokenizer, tmp_path: Path) -> None:
    path = container(original.state_dict(), tmp_path)
    with pytest.raises(WeightsError, match=r"holds no backbone; load '.*#tokenizer'"):
        omnikit.load(f"{path}#backbone")
    with pytest.raises(UnknownName, match="tokeniser"):
        omnikit.load(f"{path}#tokeniser")


def test_the_verb_writes_trained_parts(
    original: SpeechTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = container(original.state_dict(), tmp_path), tmp_path / "out"
    assert main(["load", str(path), "--out", str(out)]) == 0
    assert sorted(item.name for item in out.iterdir()) == ["tokenizer"]
    card = json.loads((out / "tokenizer" / "component.json").read_text())
    assert card["id"] == "tokenizer/spiral_fsq" and card["provenance"]["prefix"] == "encoder."
    again = omnikit.load(f"{out}#tokenizer")
    assert again.vocab_id == card["parameters"]["vocab_id"]
    assert torch.equal(again.encode(speech()).codes, original.encode(speech()).codes)
    printed = capsys.readouterr().out
    assert (
        f"{sum(item.numel() for item in original.parameters()):,} parameters" in printed
        and "model.safetensors" in printed
    )


def test_the_verb_writes_nothing_when_something_does_not_fit(
    original: SpeechTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, out = container(original.state_dict(), tmp_path), tmp_path / "out"
    assert main(["load", str(good), str(raw({}, tmp_path)), "--out", str(out)]) == 2
    assert "holds no tensors" in capsys.readouterr().err and not out.exists()
    assert main(["load", str(good), str(raw(original.state_dict(), tmp_path)), "--out", str(out)]) == 2
    assert "Two sources hold a tokenizer" in capsys.readouterr().err and not out.exists()
    (out / "tokenizer").mkdir(parents=True)
    (out / "tokenizer" / "notes.txt").write_text("mine")
    assert main(["load", str(good), "--out", str(out)]) == 2
    assert "is no trained part" in capsys.readouterr().err
    assert (out / "tokenizer" / "notes.txt").read_text() == "mine"
