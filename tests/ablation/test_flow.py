"""The whole way through the command line: a good arm, one that does not fit, one that fails; killed, and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omnikit.ablation.cell import is_busy
from omnikit.ablation.files import read_json
from omnikit.ablation.status import read_status
from omnikit.cli import main


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_sweep_is_killed_goes_on_tells_what_fails_and_is_not_repeated(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    _kill_in_the_middle(words, sweep)
    busy = [path.parent for path in sweep.glob("cells/*/lock") if is_busy(path.parent)]
    assert busy, "the cell that ran outlives its runner"
    done = {path: path.stat().st_mtime_ns for path in sweep.glob("cells/*/scores.jsonl")}
    assert done

    assert main(words) == 3
    said = capsys.readouterr()
    assert "waiting for a process of an earlier command" in said.err
    assert "pruned misfit: backbone.units -> detokenizer.units do not fit" in said.out
    assert "2 of 3 cells done" in said.out, said
    assert "failed failing, seed 0: omnikit train: Unknown language pack 'klingon'." in said.err
    assert done == {path: path.stat().st_mtime_ns for path in done}, "what was done is not done again"

    found = read_json(sweep / "sweep.json")
    assert found["format"] == 1 and found["baseline"] == "fsq"
    assert [arm["pruned"] is None for arm in found["arms"]] == [True, True, False, True]
    signatures = set()
    for cell in found["cells"]:
        folder = sweep / cell["folder"]
        status = read_status(folder)
        if cell["arm"] == "failing":
            assert status["state"] == "failed" and status["stage"] == "tokenizer"
            continue
        assert (status["state"], status["step"], status["steps"]) == ("done", 2, 2)
        scores = {row["metric"]: row for row in map(json.loads, (folder / "scores.jsonl").read_text().splitlines())}
        score = scores[found["primary"]]
        assert score["value"] == pytest.approx(sum(score["errors"]) / sum(score["lengths"]))
        assert len(score["items"]) == len(score["clusters"]) == 2 and score["higher_is_better"] is False
        signatures.add(score["signature"])
        curves = [json.loads(row) for row in (folder / "curves.jsonl").read_text().splitlines()]
        assert {row["stage"] for row in curves} == {"tokenizer"} and {row["step"] for row in curves} == {1, 2}
    assert len(signatures) == 1

    assert main([*words, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(cell["arm"], cell["state"], cell["stages"]) for cell in told["cells"]] == [
        ("fsq", "done", ["tokenizer"]),
        ("coarse", "done", ["tokenizer"]),
        ("failing", "run", ["tokenizer"]),
    ]
    assert "layout differs" in told["pruned"]["misfit"]
    assert (told["runs"], told["runs_done"], told["steps"], told["evaluations"]) == (1, 2, 2, 1)
    assert told["expected_s"] > 0 and told["expected_memory_mb"] > 0


def _kill_in_the_middle(words: list[str], sweep: Path) -> None:
    """Start the study and kill -9 it as soon as one cell is done and another one is judged, which takes a while."""
    process = subprocess.Popen([sys.executable, "-m", "omnikit", *words], stdout=subprocess.DEVNULL)
    deadline = time.time() + 600
    while process.poll() is None and time.time() < deadline:
        told = [read_status(path.parent) for path in sweep.glob("cells/*/status.json")]
        judged = any(status["state"] == "running" and status.get("stage") == "evaluation" for status in told)
        if judged and any(status["state"] == "done" for status in told):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (["ablation=tokenizer_swop"], "Did you mean 'tokenizer_swap'?"),
        ([], "Which question?"),
        (["ablation=tokenizer_swap", "seed=1"], "seeds=[0,1,2]"),
        (["ablation=tokenizer_swap", "on_failure=retry"], "retry:n"),
        (["ablation=tokenizer_swap", "data.path=/no/such/corpus"], "omnikit data make"),
        (["ablation=tokenizer_swap", "budget.step.tokenizer=1"], "Did you mean 'budget.steps"),
        (["--file", "/no/such/file.yaml"], "does not exist"),
    ],
)
def test_bad_input_is_one_short_message(extra: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", *extra]) == 2
    told = capsys.readouterr().err
    assert expected in told and len(told.strip().splitlines()) <= 8
