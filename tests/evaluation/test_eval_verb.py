"""`omnikit eval`: the table, the JSON, and what it says when something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation.conftest import NODES

from omnikit.cli import main
from omnikit.cli.eval import composed, trained_system
from omnikit.system import System
from omnikit.wiring import Node


@pytest.fixture(scope="module")
def weights(random_system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which only the tokenizer is trained."""
    folder = tmp_path_factory.mktemp("weights")
    System(random_system.plan, {"tokenizer": random_system.part("tokenizer")}).save(folder)
    return folder


def test_the_table_goes_to_stdout_and_nothing_is_written(
    weights: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", f"weights={weights}", f"data.path={corpus}", "num_items=2"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("| part | figure |")
    assert "| tokenizer | phone error rate, known voices |" in shown.out
    assert "Not judged: detokenizer; these weights lack style, detokenizer." in shown.out
    assert "judging tokenizer" in shown.err
    assert list(tmp_path.iterdir()) == []
    assert not (corpus / "units").exists()


def test_json_holds_the_setting_and_every_figure(
    weights: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", f"weights={weights}", f"data.path={corpus}", "num_items=2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_items"] == 2
    assert found["corpus"]["seed"] == 3
    rates = {figure["name"]: figure for figure in found["figures"]}
    known = rates["phone error rate, known voices"]
    assert known["target"] == "≤ 10"
    assert known["low"] <= known["value"] <= known["high"]
    signatures = [figure["signature"] for figure in found["figures"]]
    assert len(set(signatures)) == len(signatures) > 5
    data = found["corpus"]["sha256"][:12]
    assert all(f"|seed:{found['seed']}|" in own and f"|data:{data}|n:" in own for own in signatures)
    assert known["signature"].startswith("tokenizer.phone_error_rate_known_voices|omnikit:")


def test_a_missing_corpus_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "experiment=emova_tiny", f"data.path={tmp_path}/none"]) == 2
    shown = capsys.readouterr().err
    assert f"omnikit data make --out {tmp_path}/none" in shown
    assert len(shown.splitlines()) <= 8


def test_weights_without_parts_are_refused(tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", f"weights={tmp_path}", f"data.path={corpus}"]) == 2
    assert "holds no trained part" in capsys.readouterr().err


def test_what_nobody_chooses_is_what_the_weights_were_trained_with(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {
        "emitter": Node("emitter/hidden_ctc", {"dim": 8, "layers": 1, "heads": 2}),
        "format": Node("format/tagged"),
    }
    trained = System.assemble({**NODES, **others})
    trained.max_new_tokens = 31
    trained.save(tmp_path)
    system = trained_system(composed([f"weights={tmp_path}"]))
    assert [system.plan.nodes[slot].component for slot in others] == ["emitter/hidden_ctc", "format/tagged"]
    assert system.emitter is system.part("emitter") and system.emitter.codebooks == system.part("backbone").codebooks
    assert system.max_new_tokens == 31
    assert f"emitter: emitter/hidden_ctc, as {tmp_path} was trained" in capsys.readouterr().err
    chosen = trained_system(composed([f"weights={tmp_path}", "format=plain_chain"]))
    assert "format" not in chosen.parts, "another format than the trained one was asked for, and it has no weights"
