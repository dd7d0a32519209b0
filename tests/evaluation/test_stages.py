"""`omnikit eval --stages`: one column before the first stage of a run, and one after each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from evaluation.conftest import NODES

from omnikit.artefacts import save_component
from omnikit.cli import main
from omnikit.errors import WeightsError
from omnikit.evaluation.figures import Figure, at_least
from omnikit.evaluation.stages import moments, stage_table, system_at
from omnikit.system import System, read_wires

LEARNS = {"prealign": ("projector",), "align": ("projector", "backbone"), "sft": ("projector", "backbone")}
AFTER = {"prealign": ["tokenizer"], "align": ["tokenizer", "prealign"], "sft": ["tokenizer", "prealign", "align"]}


@pytest.fixture(scope="module")
def run_folder(random_system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three stages leave: every one adds 1 to the weights of what it trains."""
    run = tmp_path_factory.mktemp("runs") / "small"
    random_system.save(run / "system")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = System.assemble(NODES).parts
    for name, slots in LEARNS.items():
        for slot in slots:
            with torch.no_grad():
                for weight in parts[slot].parameters():
                    weight.add_(1.0)
            save_component(parts[slot], run / name / "parts" / slot)
        (run / name / "state.json").write_text(json.dumps({"key": name, "finished": True}))
        stage = {"name": name, "objective": "language", "after": AFTER[name]}
        (run / name / "config.yaml").write_text(yaml.safe_dump({"stage": stage}))
    unfinished = run / "sft_2"
    unfinished.mkdir()
    (unfinished / "state.json").write_text(json.dumps({"key": "x", "finished": False}))
    return run


def others(run: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in (run / "system").iterdir() if folder.is_dir()}


def test_every_moment_has_the_parts_that_were_there(run_folder: Path) -> None:
    before, prealign, align, sft = moments(run_folder, others(run_folder))
    assert [moment.name for moment in (before, prealign, align, sft)] == ["before", *LEARNS]
    assert set(before.unlearnt) == {"projector", "backbone"} and set(prealign.unlearnt) == {"backbone"}
    assert align.weights["backbone"] == run_folder / "align" / "parts" / "backbone"
    assert sft.weights["projector"] == run_folder / "sft" / "parts" / "projector"
    assert all(moment.weights["tokenizer"] == run_folder / "system" / "tokenizer" for moment in (before, sft))
    wires = list(read_wires("emova"))
    systems = [system_at(moment, wires, seed=0) for moment in (before, prealign, align, sft)]
    sums = [[float(next(each.part(slot).parameters()).sum()) for slot in ("projector", "backbone")] for each in systems]
    assert sums[0][1] == sums[1][1] != sums[2][1] != sums[3][1]
    assert len({own[0] for own in sums}) == 4
    again = system_at(before, wires, seed=0)
    assert float(next(again.part("backbone").parameters()).sum()) == sums[0][1]


def test_a_folder_without_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no finished stage of the mind"):
        moments(tmp_path, {})


def test_the_table_has_a_column_for_every_moment() -> None:
    figure = Figure("language", "answers right", 10.0, 5.0, 15.0, 20, "how", target=at_least(90.0))
    grouped = replace(figure, group="kind=color")
    late = replace(figure, name="replies unparsed", value=float("nan"))
    shown = stage_table({"before": [figure, grouped], "sft": [replace(figure, value=95.0), late]}).splitlines()
    assert shown[0] == "| part | figure | before | sft | target | n |"
    assert shown[2] == "| language | answers right | 10.0 % [5.00, 15.0] | 95.0 % [5.00, 15.0] | ≥ 90 % | 20 |"
    assert shown[3] == "|  | replies unparsed |  | not measurable | ≥ 90 % | 20 |" and len(shown) == 4


def test_one_command_prints_it(run_folder: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["eval", f"data.path={corpus}", "num_items=1", "parts=[language]", "--stages", str(run_folder)]
    assert main(given) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("| part | figure | before | prealign | align | sft | target | n |")
    assert "| language | word error rate, any text |" in shown
    assert main([*given, "--html", "page.html"]) == 2
    assert "leave --scores" in capsys.readouterr().err
