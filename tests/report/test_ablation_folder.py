"""Broken sweeps are read as far as they go, and what is wrong is said; only a missing plan stops a report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from report.synthetic_sweep import BASELINE, BROKEN, WORSE, make_sweep, write_json

from omnikit.errors import OmnikitError
from omnikit.report.ablation_folder import read_sweep
from omnikit.report.ablation_results import evaluate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_sweep(tmp_path / "sweep")


def change_scores(cell: Path, metric: str, change: Callable[[dict], None]) -> None:
    rows = [json.loads(line) for line in (cell / "scores.jsonl").read_text().splitlines()]
    for row in rows:
        if row["metric"] == metric:
            change(row)
    (cell / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_whole_sweep_has_no_problems(folder: Path) -> None:
    sweep = read_sweep(folder)
    assert sweep.problems == ()
    assert (sweep.baseline, sweep.primary, sweep.seeds) == (BASELINE, "phone_error", (0, 1, 2))
    states = [cell.state for cell in sweep.cells_of(BROKEN)]
    assert states == ["done", "done", "failed"]
    cell = sweep.cells_of(WORSE)[0]
    assert [score.metric for score in cell.scores] == ["phone_error", "word_error", "emotion_right", "codebook_used"]
    assert len(cell.takes) == 3
    assert cell.curves["tokenizer", "loss"].shape == (51, 2)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda cell: (cell / "scores.jsonl").unlink(), "left no scores.jsonl"),
        (lambda cell: (cell / "status.json").write_text('{"state": "do'), "status.json cannot be read"),
        (lambda cell: (cell / "status.json").write_text('{"state": "gone"}'), "no known state"),
        (lambda cell: (cell / "scores.jsonl").open("a").write('{"metric": "phone'), "line 5 is no JSON object"),
        (lambda cell: (cell / "media" / "1.wav").unlink(), "the sound 1.wav is missing"),
        (lambda cell: (cell / "media" / "media.json").write_text("["), "media.json cannot be read"),
        (
            lambda cell: (cell / "media" / "media.json").write_text('[{"prompt": "p", "file": "../../../sweep.json"}]'),
            "points outside its folder",
        ),
        (lambda cell: change_scores(cell, "phone_error", lambda row: row.update(value=None)), "has no value"),
        (lambda cell: change_scores(cell, "phone_error", lambda row: row.pop("signature")), "has no signature"),
        (
            lambda cell: change_scores(cell, "phone_error", lambda row: row.update(value=12.0)),
            "not Σ errors / Σ lengths",
        ),
        (lambda cell: change_scores(cell, "phone_error", lambda row: row["errors"].pop()), "not of one length"),
        (lambda cell: change_scores(cell, "phone_error", lambda row: row.update(errors="x")), "no lists of numbers"),
        (lambda cell: change_scores(cell, "phone_error", lambda row: row["items"].__setitem__(1, "utt000")), "twice"),
        (lambda cell: change_scores(cell, "emotion_right", lambda row: row["confusion"]["asked"].pop()), "confusion"),
        (lambda cell: change_scores(cell, "codebook_used", lambda row: row["use"].update(sizes=[3])), "do not fit"),
        (lambda cell: change_scores(cell, "codebook_used", lambda row: row["use"].update(counts="x")), "do not fit"),
        (
            lambda cell: change_scores(cell, "word_error", lambda row: row.update(metric="phone_error", signature="s")),
            "",
        ),
    ],
)
def test_damage_is_told_and_nothing_else_is_lost(folder: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(folder / "cells" / f"{WORSE}-0")
    results = evaluate(read_sweep(folder))
    if said:
        assert any(said in problem and WORSE in problem for problem in results.problems), results.problems
    (column,) = [column for column in results.primary if column.signature != "s"]
    baseline = results.entry(BASELINE, column)
    assert baseline is not None and len(baseline.trials.seeds) == 3
    worse = results.entry(WORSE, column)
    assert worse is not None and len(worse.trials.seeds) >= 2


def test_a_cell_that_never_began_is_queued(folder: Path) -> None:
    shutil.rmtree(folder / "cells" / f"{WORSE}-1")
    sweep = read_sweep(folder)
    assert [cell.state for cell in sweep.cells_of(WORSE)] == ["done", "queued", "done"]
    assert evaluate(sweep).arms[1].state == "2/3 done, 1 queued"


def test_entries_that_make_no_sense_are_left_out(folder: Path) -> None:
    plan = json.loads((folder / "sweep.json").read_text())
    plan["cells"] += [
        {"id": "x", "arm": "nobody", "seed": 0, "folder": "cells/x"},
        {"id": "y", "arm": WORSE},
        {"id": "z", "arm": WORSE, "seed": 0, "folder": "cells/z"},
        "?",
    ]
    plan["cells"][3]["folder"] = "../elsewhere"
    write_json(folder / "sweep.json", plan)
    sweep = read_sweep(folder)
    assert len(sweep.cells) == 12
    told = "\n".join(sweep.problems)
    for word in ("no seed of an arm", "is there twice", "entry 13 lacks", "entry 15 lacks", "outside the sweep"):
        assert word in told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no sweep.json"),
        ("{", "cannot be read"),
        ('{"format": 9}', "reads format 1"),
        ('{"format": 1}', "no arms"),
    ],
)
def test_without_a_plan_there_is_no_report(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(OmnikitError, match=said) as caught:
        read_sweep(tmp_path)
    assert len(str(caught.value).splitlines()) <= 8
