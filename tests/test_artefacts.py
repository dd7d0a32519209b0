"""Trained parts on disk: whole or not at all, refused by name when they do not fit, never executed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import omnikit
from omnikit.artefacts import fill, load_component, save_component
from omnikit.errors import OmnikitError, UnknownName, WeightsError
from omnikit.slots.base import Component

SMALL = {"in_dim": 3, "out_dim": 4}


def projector(**changes: int) -> Component:
    return omnikit.create("projector/mlp", **{**SMALL, **changes})


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    made = projector()
    save_component(made, tmp_path / "projector")
    back = load_component(tmp_path / "projector")
    assert back.parameters_given == made.parameters_given
    for name, value in made.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
    assert not back.training


def test_half_precision_on_disk_is_float32_in_use(tmp_path: Path) -> None:
    made = projector()
    save_component(made, tmp_path / "projector", half=True)
    back = load_component(tmp_path / "projector")
    for name, value in made.state_dict().items():
        assert back.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(back.state_dict()[name], value.half().float(), rtol=0, atol=0)


def test_a_save_that_fails_leaves_the_old_part_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "projector"
    save_component(projector(), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(json, "dumps", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_component(projector(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["projector"]


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    save_component(projector(), tmp_path / "p")
    with pytest.raises(WeightsError, match=r"0\.weight is \[4, 3\], expected \[4, 5\]"):
        fill(projector(in_dim=5), tmp_path / "p")
    with pytest.raises(WeightsError, match=r"missing 4\.weight"):
        fill(projector(depth=3), tmp_path / "p")
    tensors = load_file(tmp_path / "p" / "model.safetensors")
    save_file({**tensors, "extra": torch.zeros(1)}, tmp_path / "p" / "model.safetensors")
    with pytest.raises(WeightsError, match="unknown extra"):
        fill(projector(), tmp_path / "p")


def test_quantisers_with_other_levels_of_the_same_shape_are_refused(tmp_path: Path) -> None:
    sizes = {
        "num_mels": 16,
        "widths": [8, 8, 8, 8],
        "layers": [1, 1],
        "heads": [1, 1],
        "position": [2, 2],
        "decoder_dim": 8,
    }
    save_component(omnikit.create("tokenizer/spiral_fsq", **sizes, levels=[8, 8]), tmp_path / "t")
    with pytest.raises(WeightsError, match=r"levels are \[8, 8\], expected \[5, 5\]"):
        fill(omnikit.create("tokenizer/spiral_fsq", **sizes, levels=[5, 5]), tmp_path / "t")


@pytest.mark.parametrize("damage", ["truncated", "no card", "card is no JSON", "card without id", "no weights"])
def test_damaged_parts_are_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "p"
    save_component(projector(), folder)
    card, weights = folder / "component.json", folder / "model.safetensors"
    {
        "truncated": lambda: weights.write_bytes(weights.read_bytes()[:40]),
        "no card": card.unlink,
        "card is no JSON": lambda: card.write_text("{"),
        "card without id": lambda: card.write_text("{}"),
        "no weights": weights.unlink,
    }[damage]()
    with pytest.raises(WeightsError):
        load_component(folder)


def test_a_card_can_only_name_what_is_registered(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    save_component(projector(), folder)
    card = json.loads((folder / "component.json").read_text())
    (folder / "component.json").write_text(json.dumps({**card, "id": "projector/os_system"}))
    with pytest.raises(UnknownName, match="projector/mlp"):
        load_component(folder)


def test_references_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Unknown weights 'tinny'"):
        omnikit.load("tinny")
    with pytest.raises(UnknownName, match="Did you mean 'tokenizer'"):
        omnikit.load("tiny#tokeniser")
    with pytest.raises(OmnikitError, match="holds no trained components"):
        omnikit.load(str(tmp_path))
