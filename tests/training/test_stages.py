"""Every stage trains through the real command line, one after another, and the result is a system that answers."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from training.conftest import SMALL, STAGES

import omnikit
from omnikit.cli import main
from omnikit.system import System


@pytest.fixture(scope="session")
def run_folder(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    for stage in STAGES:
        words = ["train", *SMALL, f"stage={stage}", f"data.path={small_corpus}", f"out={out}", "--traceback"]
        assert main(words) == 0, stage
    return out


def test_every_run_leaves_its_record(run_folder: Path) -> None:
    for stage in STAGES:
        folder = run_folder / stage
        cost = json.loads((folder / "cost.json").read_text())
        assert cost["steps"] == 4 and cost["parameters"] > 0 and cost["peak_memory_mb"] > 0
        assert cost["flops_per_step"] > 0
        record = json.loads((folder / "run.json").read_text())
        assert record["versions"]["torch"] and len(record["data"]["sha256"]) == 64
        assert yaml.safe_load((folder / "config.yaml").read_text())["stage"]["name"] == stage
        rows = list(csv.DictReader((folder / "curves.csv").open()))
        assert {row["name"] for row in rows} >= {"loss"}
        assert json.loads((folder / "state.json").read_text())["finished"]


def test_names_of_meaning_follow_the_weights(run_folder: Path) -> None:
    cards = {
        slot: json.loads((run_folder / "system" / slot / "component.json").read_text())
        for slot in ("tokenizer", "detokenizer", "backbone", "style")
    }
    name = cards["tokenizer"]["parameters"]["vocab_id"]
    assert name.startswith("tokenizer-")
    assert cards["detokenizer"]["parameters"]["vocab_id"] == cards["backbone"]["parameters"]["vocab_id"] == name
    assert cards["style"]["parameters"]["space_id"] == cards["detokenizer"]["parameters"]["style_space"]


def test_the_folder_loads_as_a_system_and_part_by_part(run_folder: Path) -> None:
    system = omnikit.load(str(run_folder / "system"))
    assert set(system.parts) == set(system.plan.nodes)
    alone = omnikit.load(f"{run_folder / 'system'}#tokenizer")
    for name, value in alone.state_dict().items():
        assert torch.equal(value, system.part("tokenizer").state_dict()[name]), name


def test_the_system_hears_sees_and_answers_whatever_it_has_learnt(run_folder: Path, small_corpus: Path) -> None:
    system = System.load(run_folder / "system")
    record = json.loads((small_corpus / "dialogue.test.jsonl").read_text().splitlines()[0])
    user = record["messages"][0]
    inputs = {"image": small_corpus / user["image"]["path"], "audio": small_corpus / user["audio"]["path"]}
    replies = [system.reply(**inputs, seed=5, style={"emotion": "happy"}) for _ in range(2)]
    assert replies[0].turn.raw == replies[1].turn.raw
    assert replies[0].turn.style.labels[0]["emotion"] == "happy"
    units = system.hear(inputs["audio"])
    spoken = [system.speak(units, {"emotion": "sad"}, seed=1).wave for _ in range(2)]
    assert torch.equal(*spoken)
    assert spoken[0].abs().max() > 0


def test_a_finished_stage_is_not_done_again(
    run_folder: Path, small_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run_folder / "vision" / "curves.csv").read_bytes()
    assert main(["train", *SMALL, "stage=vision", f"data.path={small_corpus}", f"out={run_folder}"]) == 0
    assert "is finished" in capsys.readouterr().out
    assert (run_folder / "vision" / "curves.csv").read_bytes() == before


def test_another_configuration_in_the_same_place_is_refused(
    run_folder: Path, small_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *SMALL, "stage=vision", f"data.path={small_corpus}", f"out={run_folder}", "seed=1"]
    assert main(words) == 2
    assert "overwrite=true" in capsys.readouterr().err


def test_a_stage_without_what_it_needs_says_what_to_train(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SMALL, "stage=detokenizer", f"data.path={small_corpus}", f"out={tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert "needs a trained tokenizer" in told and "tokenizer.weights=" in told
    assert not list(tmp_path.iterdir())


def test_the_voice_of_another_tokenizer_is_refused_before_anything_is_loaded(
    run_folder: Path, small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert main(["train", *SMALL, "stage=tokenizer", "seed=9", f"data.path={small_corpus}", f"out={other}"]) == 0
    capsys.readouterr()
    words = ["check", *SMALL, f"weights={run_folder / 'system'}", f"tokenizer.weights={other / 'system'}"]
    assert main(words) == 2
    assert "vocab_id differs" in capsys.readouterr().err


class _Stop(Exception):
    pass


def test_an_interrupted_run_resumes_to_the_same_weights(
    run_folder: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omnikit.training import progress

    words = [
        "train",
        *SMALL,
        "stage=tokenizer",
        f"data.path={small_corpus}",
        f"out={tmp_path}",
        "trainer.checkpoint_minutes=0",
    ]
    save = progress.Saver.save

    def save_once_then_die(self: progress.Saver, trainer: object) -> None:
        save(self, trainer)
        raise _Stop

    monkeypatch.setattr(progress.Saver, "save", save_once_then_die)
    with pytest.raises(_Stop):
        main(words)
    monkeypatch.setattr(progress.Saver, "save", save)
    assert (tmp_path / "tokenizer" / "last.ckpt").exists()
    assert main(words) == 0
    whole, resumed = (omnikit.load(f"{folder / 'system'}#tokenizer").state_dict() for folder in (run_folder, tmp_path))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_settings_of_other_stages_and_parts_leave_a_finished_run_alone(
    run_folder: Path, small_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *SMALL, "stage=tokenizer", f"data.path={small_corpus}", f"out={run_folder}"]
    assert main([*words, "recipe.sft.optim.steps=9", "backbone.layers=2", "trainer.log_every=7"]) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_retrained_tokenizer_makes_the_voice_of_the_old_one_stale(
    run_folder: Path, small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run_folder / "detokenizer", tmp_path / "detokenizer")
    words = [*SMALL, f"data.path={small_corpus}", f"out={tmp_path}"]
    assert main(["train", *words, "stage=tokenizer", "recipe.tokenizer.optim.lr=5e-3"]) == 0
    capsys.readouterr()
    assert main(["train", *words, "stage=detokenizer"]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_full_precision_is_kept_where_the_stage_asks_for_it(small_corpus: Path, tmp_path: Path) -> None:
    words = ["train", *SMALL, "stage=vision", "stage.half=false", f"data.path={small_corpus}", f"out={tmp_path}"]
    assert main(words) == 0
    stored = load_file(tmp_path / "vision" / "parts" / "vision_encoder" / "model.safetensors")
    weights = [value for value in stored.values() if value.is_floating_point()]
    assert all(value.dtype == torch.float32 for value in weights)
    assert any(not torch.equal(value, value.half().float()) for value in weights)
