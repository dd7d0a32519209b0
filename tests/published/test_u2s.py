"""Published unit-to-speech checkpoints: raw files, the container whole and in parts, every spelling, strict errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import omnikit
from omnikit.cli import main
from omnikit.errors import WeightsError
from omnikit.published import u2s
from omnikit.slots.detokenizer import Detokenizer
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.types import Style, Units

SIZES: dict[str, Any] = {
    "unit_encoder": {"hidden_dim": 16, "filter_dim": 24, "num_heads": 2, "num_layers": 2},
    "latent": {"dim": 8, "hidden_dim": 16, "posterior_layers": 3, "flow_layers": 2, "num_flows": 2},
    "duration": {"num_flows": 3},
    "reference": {"hidden_dim": 12, "num_speakers": 5},
    "hifigan": {"hidden_dim": 16, "kernels": [3, 7], "dilations": [[1, 3, 5], [1, 3, 5]]},
}
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def original() -> Detokenizer:
    torch.manual_seed(0)
    return omnikit.create(
        "detokenizer/uvits",
        codebooks=[200],
        vocab_id="v",
        unit_rate=25,
        style_dim=6,
        style_space="s",
        **SIZES,
    ).eval()


@pytest.fixture(scope="module")
def tokenizer() -> SpeechTokenizer:
    torch.manual_seed(0)
    sizes = {"num_mels": 16, "widths": [8, 64, 16, 64], "layers": [1, 1], "heads": [1, 1], "ffn_ratio": 2}
    return omnikit.create(
        "tokenizer/spiral_fsq", position=[8, 4], levels=[8, 5, 5], num_phones=6, decoder_dim=8, **sizes
    ).eval()


def sound(detokenizer: Detokenizer) -> Tensor:
    codes = torch.arange(9)[None, None] * 20
    units = Units(codes, torch.tensor([9]), (200,), Fraction(25), detokenizer.vocab_id, "reduced")
    style = Style(vector=torch.ones(1, 6), space_id=detokenizer.style_space)
    return detokenizer.decode(units, style, torch.Generator().manual_seed(0)).wave


def as_written(state: State) -> State:
    """Names in small letters, as the original training wrote them."""
    return {name.lower(): value for name, value in state.items()}


def unchanged(state: State) -> State:
    """Norms in capitals and `weight_g`, as the published container and our component have them."""
    return dict(state)


def rewritten(state: State) -> State:
    """Weight norm as parametrisations, as newer tools write it."""
    new = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {
        name.replace(name.rsplit(".", 1)[-1], new.get(name.rsplit(".", 1)[-1], name.rsplit(".", 1)[-1])): value
        for name, value in state.items()
    }


def raw(state: State, path: Path, change: Callable[[State], State] = as_written) -> Path:
    content = {"model": change(state), "iteration": 322_000, "optimizer": {"state": {}}, "learning_rate": 2e-4}
    torch.save(content, path / "G_322000.pth")
    return path / "G_322000.pth"


def styles() -> Tensor:
    """A table whose rows can be told apart, in the order of the published list: sorted by name."""
    return torch.arange(126.0)[:, None].expand(-1, 6).contiguous()


def container(
    state: State, path: Path, change: Callable[[State], State] = unchanged, tokenizer: SpeechTokenizer | None = None
) -> Path:
    tensors = {f"decoder.{name}": value for name, value in change(state).items()}
    tensors["style_embedding.weight"] = styles()
    if tokenizer is not None:
        tensors |= {f"encoder.{name}": value for name, value in tokenizer.state_dict().items()}
    save_file(tensors, path / "model.safetensors")
    return path / "model.safetensors"


@pytest.mark.parametrize("weight_norm", [unchanged, rewritten])
@pytest.mark.parametrize("norms", [as_written, unchanged])
@pytest.mark.parametrize("write", [raw, container])
def test_every_spelling_gives_the_same_detokenizer(
    write: Callable[..., Path],
    norms: Callable[[State], State],
    weight_norm: Callable[[State], State],
    original: Detokenizer,
    tmp_path: Path,
) -> None:
    path = write(original.state_dict(), tmp_path, lambda state: weight_norm(norms(state)))
    loaded = omnikit.load(f"{path}#detokenizer")
    state = loaded.state_dict()
    assert list(state) == list(original.state_dict())
    assert all(torch.equal(state[name], value) for name, value in original.state_dict().items())
    assert torch.equal(sound(loaded), sound(original))
    assert loaded.sample_rate == 22_050 and loaded.layout == "reduced" and not loaded.training
    assert loaded.vocab_id == u2s.UNITS_UNKNOWN and loaded.style_space.startswith("uvits-")


def test_the_container_loads_in_its_parts_and_whole(
    original: Detokenizer, tokenizer: SpeechTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = container(original.state_dict(), tmp_path, rewritten, tokenizer)
    parts = {slot: omnikit.load(f"{path}#{slot}") for slot in ("tokenizer", "detokenizer", "style")}
    assert parts["detokenizer"].vocab_id == parts["tokenizer"].vocab_id
    assert parts["style"].space_id == parts["detokenizer"].style_space
    assert main(["load", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "detokenizer" in capsys.readouterr().out
    for slot, part in parts.items():
        again = omnikit.load(f"{tmp_path / 'out'}#{slot}")
        assert all(torch.equal(again.state_dict()[name], value) for name, value in part.state_dict().items())
    style = omnikit.load(f"{tmp_path / 'out'}#style").from_labels([{"emotion": "sad"}])
    units = Units(torch.arange(4)[None, None], torch.tensor([4]), (200,), Fraction(25), parts["tokenizer"].vocab_id)
    reduced = Units(**{**vars(units), "layout": "reduced"})
    spoken = omnikit.load(f"{tmp_path / 'out'}#detokenizer").decode(reduced, style, torch.Generator())
    assert spoken.wave.numel()


def test_raw_files_of_both_models_are_bound_to_each_other(
    original: Detokenizer, tokenizer: SpeechTokenizer, tmp_path: Path
) -> None:
    torch.save({"state_dict": tokenizer.state_dict()}, tmp_path / "s2u.ckpt")
    files = [str(tmp_path / "s2u.ckpt"), str(raw(original.state_dict(), tmp_path))]
    assert main(["load", *files, "--out", str(tmp_path / "out")]) == 0
    loaded = {slot: omnikit.load(f"{tmp_path / 'out'}#{slot}") for slot in ("tokenizer", "detokenizer")}
    assert loaded["detokenizer"].vocab_id == loaded["tokenizer"].vocab_id


def test_styles_are_found_by_their_labels(original: Detokenizer, tmp_path: Path) -> None:
    path = container(original.state_dict(), tmp_path)
    table = omnikit.load(f"{path}#style")
    names = sorted(
        u2s.condition(dict(zip(u2s.FACTORS, values, strict=True))) for values in product(*u2s.FACTORS.values())
    )
    assert len(names) == 126 and names[0] == "gender-female_emotion-angry_speed-fast_pitch-high"
    chosen = {"gender": "male", "emotion": "happy", "speed": "slow", "pitch": "low"}
    vector = table.from_labels([chosen]).vector
    assert vector[0].tolist() == [names.index(u2s.condition(chosen))] * 6
    default = {"gender": "female", "emotion": "neutral", "speed": "normal", "pitch": "normal"}
    assert table.from_labels([{}]).vector[0, 0] == names.index(u2s.condition(default))
    (tmp_path / "config.json").write_text(
        json.dumps({"u2s_style2idx": {name: 125 - i for i, name in enumerate(names)}})
    )
    assert omnikit.load(f"{path}#style").from_labels([chosen]).vector[0, 0] == 125 - names.index(u2s.condition(chosen))
    (tmp_path / "config.json").write_text(json.dumps({"u2s_style2idx": {"gender-male": 0}}))
    with pytest.raises(WeightsError, match="126 rows and 1 named conditions"):
        omnikit.load(f"{path}#style")


def test_what_does_not_fit_is_named(original: Detokenizer, tmp_path: Path) -> None:
    state = original.state_dict()
    del state["flow.flows.2.post.bias"]
    state["enc_r.extra"] = torch.zeros(1)
    state["dec.cond.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError) as caught:
        omnikit.load(str(raw(state, tmp_path)))
    message = str(caught.value)
    for part in ("G_322000.pth does not fit UVITS", "missing flow.flows.2.post.bias", "unknown enc_r.extra"):
        assert part in message
    assert "dec.cond.bias is [3], expected [16]" in message and len(message.splitlines()) <= 8


def test_sizes_that_cannot_be_read_are_named(original: Detokenizer, tmp_path: Path) -> None:
    state = original.state_dict()
    del state["enc_p.proj.weight"]
    with pytest.raises(WeightsError, match=r"lacks enc_p\.proj\.weight"):
        omnikit.load(str(raw(state, tmp_path)))
    state = {**original.state_dict(), "enc_p.emb.weight": torch.zeros(178, 16)}
    with pytest.raises(WeightsError, match="178 text symbols"):
        omnikit.load(str(raw(state, tmp_path)))


def test_the_published_sizes_are_read_from_shapes() -> None:
    """The full parameters of conf/detokenizer/uvits_emova.yaml come out of the full shapes."""
    with torch.device("meta"):
        full = omnikit.create(
            "detokenizer/uvits",
            codebooks=[4096],
            vocab_id="v",
            unit_rate=25,
            style_dim=256,
            style_space="s",
            reference={"num_speakers": 1344},
        )
    tensors = {
        name.replace("GAMMA", "gamma").replace("BETA", "beta"): value for name, value in full.state_dict().items()
    }
    read = u2s.parameters(tensors, {}, {})
    with torch.device("meta"):
        again = omnikit.create("detokenizer/uvits", **read)
    shapes = {name: value.shape for name, value in again.state_dict().items()}
    assert shapes == {u2s.our_name(name): value.shape for name, value in tensors.items()}
    for group in ("spectrogram", "unit_encoder", "latent", "duration", "hifigan"):
        assert all(full.parameters_given[group][key] == value for key, value in read[group].items()), group
