"""Figures as scores, texts spoken for listening, what is shown while a sweep runs, and runs without a study."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ablation.conftest import QUESTION, plan_of_cells
from rich.console import Console

from omnikit.ablation.launchers import num_cores
from omnikit.ablation.runner import opened
from omnikit.ablation.status import fresh, write_status
from omnikit.cli import ablate, main
from omnikit.cli.ablate_view import View, progress
from omnikit.errors import DataError, OmnikitError
from omnikit.evaluation.figures import Figure, Items, at_least, mean, percent
from omnikit.evaluation.scores import higher_is_better, metric_id, score_records
from omnikit.metrics.rates import Rate, ratio


def figure(name: str, **changes: Any) -> Figure:
    return percent("language", name, Rate(0.25, 0.1, 0.5, 4), "how", **changes)


def test_a_score_is_the_sum_of_its_items_in_shares() -> None:
    items = Items(["a", "b"], ["x", "x"], [1, 2], [4, 8])
    whole = Figure("tokenizer", "phone error, known", 25.0, 10.0, 40.0, 2, "how", items=items)
    (record,) = score_records([whole, Figure("p", "x", 1.0, 1.0, 1.0, 1, "", group="emotion=sad")], "f" * 64, 7)
    assert record["metric"] == "tokenizer.phone_error_known"
    assert record["value"] == sum(record["errors"]) / sum(record["lengths"]) == 0.25
    assert record["items"] == ["a", "b"] and record["clusters"] == ["x", "x"]
    assert "|seed:7|" in record["signature"] and record["signature"].endswith(f"|data:{'f' * 12}|n:2")
    other = Items(["a", "c"], ["x", "x"], [1, 2], [4, 8])
    (moved,) = score_records(
        [Figure("tokenizer", "phone error, known", 25.0, 1.0, 4.0, 2, "", items=other)], "f" * 64, 7
    )
    assert moved["signature"] != record["signature"], "other items are another measurement"


def test_other_units_stay_and_what_is_not_measurable_is_null() -> None:
    steps = mean("detokenizer", "F0 error", [1.0, 2.0], "how", "semitones")
    nothing = percent("tokenizer", "gender read from units", ratio([], []), "how")
    found = list(score_records([steps, nothing], "0" * 64, 0))
    assert found[0]["value"] == 1.5 and "errors" not in found[0]
    assert found[1]["value"] is None
    json.dumps(found, allow_nan=False)


def test_targets_and_names_say_which_way_is_better() -> None:
    assert higher_is_better(figure("error", target=at_least(3.0))) is True
    assert higher_is_better(figure("word error rate as written")) is False
    assert higher_is_better(figure("short answer named")) is True
    assert higher_is_better(figure("something")) is None
    assert metric_id(figure("speed × 0.9, units")) == "language.speed_0_9_units"


def test_a_sweep_is_shown_as_a_table(tmp_path: Path) -> None:
    plan = plan_of_cells(3)
    with opened(tmp_path, plan) as todo:
        states = [
            {"state": "running", "stage": "tokenizer", "step": 3, "steps": 20},
            {"state": "failed", "exception": "omnikit train: no\nmore"},
            {"state": "done"},
        ]
        for cell, state in zip(todo, states, strict=True):
            write_status(tmp_path / cell.folder, {**fresh(), **state})
        shown = io.StringIO()
        Console(file=shown, width=100).print(View(tmp_path, todo)._table())
    assert "2 of 3 cells" in shown.getvalue() and "tokenizer 3/20" in shown.getvalue()
    assert "omnikit train: no" in shown.getvalue() and "more" not in shown.getvalue()
    assert progress(fresh()) == ""


def test_a_budget_brings_a_corpus_where_there_is_none(
    tmp_path: Path, small_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["ablation=tokenizer_swap", "budget=tiny", f"budget.corpus.path={tmp_path / 'own'}", "seeds=1"]
    config, cells = ablate.study_config(words, None)
    config["ablation"] = {**config["ablation"], "arms": {"fsq": []}}
    with pytest.raises(DataError, match="omnikit data make"):
        ablate.plan_study(config, cells)
    asked = []

    def make(folder: Path, hours: float, seed: int) -> None:
        asked.append((folder, hours, seed))
        folder.symlink_to(small_corpus)

    monkeypatch.setattr("omnikit.data.corpus.make_corpus", make)
    plan = ablate.plan_study(config, cells, make_data=True)
    assert asked == [(tmp_path / "own", 2.0, 1)]
    assert plan.cells[0].evaluation["data"]["path"] == str(tmp_path / "own")
    again = ablate.plan_study(config, cells, make_data=True)
    assert len(asked) == 1 and again.document() == plan.document()


def test_without_a_word_the_machine_decides_how_many_cells_run(monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = ablate.study_config(["ablation=tokenizer_swap", "budget=tiny"], None)
    assert config["launcher"]["jobs"] is None
    for has_one, jobs in ((False, min(num_cores(), 4)), (True, 1)):
        monkeypatch.setattr("torch.accelerator.is_available", lambda has_one=has_one: has_one)
        assert ablate._with_jobs(config["launcher"])["jobs"] == jobs
    assert ablate._with_jobs({**config["launcher"], "jobs": 3})["jobs"] == 3


def test_runs_of_a_plain_multirun_are_told_apart_when_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_stage(config: Mapping[str, Any]) -> dict[str, Any]:
        if config["seed"] in (0, 2):
            raise OmnikitError(f"seed {config['seed']} is wrong")
        return {"steps": 2, "wall_s": 1.0}

    monkeypatch.setattr("omnikit.training.runner.run_stage", run_stage)
    words = [*QUESTION["base"], "stage=tokenizer", f"out={tmp_path}"]
    assert main(["train", "-m", *words, "seed=0,1,2"]) == 3
    said = capsys.readouterr()
    assert "seed=1/tokenizer: 2 steps" in said.out
    assert "seed=0: seed 0 is wrong" in said.err and "seed=2: seed 2 is wrong" in said.err
    assert main(["train", *words, "seed=0"]) == 2
