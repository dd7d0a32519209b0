"""Self-supervised pre-training of the tokenizer's encoder, from the command line to the stage that starts from it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training.conftest import SMALL

from omnikit.cli import main
from omnikit.training import progress

PRETRAINING = [
    *SMALL,
    "recipe.tokenizer_pretrain.optim.steps=4",
    "recipe.tokenizer_pretrain.optim.warmup_steps=1",
    "recipe.tokenizer_pretrain.batch_s=8",
    "recipe.tokenizer_pretrain.num_valid=3",
    "recipe.tokenizer_pretrain.teaching.num_negatives=5",
    "recipe.tokenizer_pretrain.teaching.projection_dim=16",
    "recipe.tokenizer_pretrain.teaching.predictor_dim=16",
]


def words(stage: str, corpus: Path, out: Path, *more: str) -> list[str]:
    return ["train", *PRETRAINING, f"stage={stage}", f"data.path={corpus}", f"out={out}", *more, "--traceback"]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "parts" / "tokenizer" / "model.safetensors")


def curve(folder: Path, name: str) -> list[str]:
    """Values as written, in order."""
    rows = csv.DictReader((folder / "curves.csv").open())
    return [row["value"] for row in rows if row["name"] == name]


@pytest.fixture(scope="module")
def pretrained(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained")
    assert main(words("tokenizer_pretrain", small_corpus, out)) == 0
    return out


def test_a_run_leaves_its_record_but_no_part_of_a_system(pretrained: Path) -> None:
    folder = pretrained / "tokenizer_pretrain"
    assert json.loads((folder / "cost.json").read_text())["steps"] == 4
    for name in ("loss", "accuracy", "valid_loss", "valid_accuracy"):
        assert curve(folder, name)
    assert weights_of(folder)["encoder.mask_emb"].std() > 0
    assert not (pretrained / "system").exists()


def test_only_the_encoder_learns(pretrained: Path, small_corpus: Path, tmp_path: Path) -> None:
    untouched = words("tokenizer_pretrain", small_corpus, tmp_path, "recipe.tokenizer_pretrain.optim.lr=0")
    assert main(untouched) == 0
    before, after = (weights_of(folder / "tokenizer_pretrain") for folder in (tmp_path, pretrained))
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in after if name.startswith("encoder.feature_encoder.")}


def test_the_supervised_stage_starts_from_the_student(pretrained: Path, small_corpus: Path) -> None:
    frozen = words("tokenizer", small_corpus, pretrained, "recipe.tokenizer.optim.lr=0", "stage.half=false")
    assert main(frozen) == 0
    before, after = (weights_of(pretrained / stage) for stage in ("tokenizer_pretrain", "tokenizer"))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    card = json.loads((pretrained / "system" / "tokenizer" / "component.json").read_text())
    assert card["parameters"]["vocab_id"].startswith("tokenizer-")


class _Stop(Exception):
    pass


def test_an_interrupted_run_draws_what_an_unbroken_one_draws(
    pretrained: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = progress.Saver.save

    def save_once_then_die(self: progress.Saver, trainer: object) -> None:
        save(self, trainer)
        raise _Stop

    dropping = ("tokenizer.dropout=0.1", "tokenizer.layer_drop=0.3")
    broken = words("tokenizer_pretrain", small_corpus, tmp_path / "broken", *dropping)
    monkeypatch.setattr(progress.Saver, "save", save_once_then_die)
    with pytest.raises(_Stop):
        main([*broken, "trainer.checkpoint_minutes=0"])
    monkeypatch.setattr(progress.Saver, "save", save)
    assert main(broken) == 0
    whole = tmp_path / "whole"
    assert main(words("tokenizer_pretrain", small_corpus, whole, *dropping)) == 0
    whole, resumed = (folder / "tokenizer_pretrain" for folder in (whole, tmp_path / "broken"))
    assert curve(resumed, "loss") == curve(whole, "loss")[-len(curve(resumed, "loss")) :]
    for name, value in weights_of(whole).items():
        torch.testing.assert_close(weights_of(resumed)[name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_a_recipe_that_leaves_no_recording_says_so(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = words("tokenizer_pretrain", small_corpus, tmp_path, "recipe.tokenizer_pretrain.min_s=90")[:-1]
    assert main(asked) == 2
    assert "between 90 and inf s" in capsys.readouterr().err


def test_phones_that_the_head_cannot_tell_apart_are_refused(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = words("tokenizer", small_corpus, tmp_path, "recipe.tokenizer.phones=emova")[:-1]
    assert main(asked) == 2
    assert "tokenizer.num_phones=240" in capsys.readouterr().err
