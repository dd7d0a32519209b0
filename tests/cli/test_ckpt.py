"""Parts of trained systems are listed, taken out, exchanged and compared; what does not fit is refused unwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import omnikit
from omnikit.artefacts import load_component, save_component
from omnikit.cli import main
from omnikit.errors import ContractError, OmnikitError
from omnikit.surgery import extract, graft, part_at
from omnikit.system import System

SIZES = {"image_size": 32, "dim": 16, "depth": 2, "heads": 2}


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small systems that see: `one` and `other`, which differ in their weights and the projector's depth."""
    root = tmp_path_factory.mktemp("systems")
    for name, depth in (("one", 2), ("other", 3)):
        torch.manual_seed(depth)
        encoder = omnikit.create("vision_encoder/timm", **SIZES)
        projector = omnikit.create("projector/mlp", in_dim=16, out_dim=12, depth=depth)
        System.of({"vision_encoder": encoder, "projector": projector}).save(root / name)
    return root


def test_parts_are_listed(systems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ckpt", "ls", str(systems / "one")]) == 0
    projector, encoder = capsys.readouterr().out.splitlines()
    assert projector.startswith("projector") and "projector/mlp" in projector
    numbers = 16 * 12 + 12 + 12 * 12 + 12
    assert f"4 tensors, {numbers} numbers" in projector and "vision_encoder/timm" in encoder
    assert main(["ckpt", "ls", "tiny"]) == 0
    assert "vocab_id=tokenizer-" in capsys.readouterr().out


def test_a_part_is_taken_out_whole(systems: Path, tmp_path: Path) -> None:
    extract(f"{systems / 'one'}#projector", tmp_path / "part")
    taken, kept = load_component(tmp_path / "part"), load_component(systems / "one" / "projector")
    assert all(torch.equal(value, kept.state_dict()[name]) for name, value in taken.state_dict().items())
    with pytest.raises(OmnikitError, match="exists"):
        extract(f"{systems / 'one'}#projector", tmp_path / "part")


def test_a_graft_says_what_it_changes(systems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ckpt", "graft", str(systems / "one"), f"projector={systems / 'other'}#projector"]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "projector parameter depth: 2 → 3" in told and "Every wire fits." in told
    assert main([*words, "--out", str(tmp_path / "mixed")]) == 0
    mixed = System.load(tmp_path / "mixed")
    assert mixed.part("projector").parameters_given["depth"] == 3
    encoder = load_component(systems / "one" / "vision_encoder").state_dict()
    assert all(torch.equal(value, encoder[name]) for name, value in mixed.part("vision_encoder").state_dict().items())


def test_a_part_that_does_not_fit_is_refused_and_nothing_is_written(systems: Path, tmp_path: Path) -> None:
    save_component(omnikit.create("projector/mlp", in_dim=24, out_dim=12), tmp_path / "wide")
    with pytest.raises(ContractError, match="dim differs"):
        graft(str(systems / "one"), {"projector": str(tmp_path / "wide")}, tmp_path / "mixed")
    with pytest.raises(OmnikitError, match="other slots"):
        graft(str(systems / "one"), {"projector": f"{systems / 'one'}#vision_encoder"}, tmp_path / "mixed")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["wide"]


def test_a_voice_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    tokenizer = omnikit.create(
        "tokenizer/spiral_fsq", **{**part_at("tiny#tokenizer").parameters, "vocab_id": "another"}
    )
    save_component(tokenizer, tmp_path / "tokenizer")
    with pytest.raises(ContractError, match="vocab_id differs"):
        graft("tiny", {"tokenizer": str(tmp_path / "tokenizer")}, tmp_path / "mixed")


def test_differences_are_told(systems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ckpt", "diff", str(systems / "one"), str(systems / "other")]) == 0
    told = capsys.readouterr().out
    assert "  parameter depth: 2 → 3" in told and "apart" in told
    assert ": - → [12, 12]" in told  # a tensor that only the deeper one has
    assert main(["ckpt", "diff", f"{systems / 'one'}#projector", f"{systems / 'one'}#projector"]) == 0
    assert capsys.readouterr().out == "projector/mlp: the same\n"
    assert main(["ckpt", "diff", str(systems / "one"), f"{systems / 'one'}#projector"]) == 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["extract", "tiny#tokeniser", "--out", "x"], "Did you mean 'tokenizer'"),
        (["extract", "tiny", "--out", "x"], "tiny#"),
        (["graft", "tiny", "style", "--dry-run"], "SLOT=PART"),
        (["graft", "tiny", "style=tiny#style"], "--out DIR"),
        (["ls", "no_such_system"], "tiny"),
    ],
)
def test_mistakes_are_answered(words: list[str], answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ckpt", *words]) == 2
    assert answer in capsys.readouterr().err
