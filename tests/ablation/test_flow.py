"""The whole way through the command line: a good arm, one that does not fit, one that fails; killed, and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ablation.conftest import QUESTION

from omnikit.ablation.cell import is_busy
from omnikit.ablation.files import read_json, read_lines
from omnikit.ablation.status import read_status
from omnikit.cli import main


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_sweep_is_killed_goes_on_tells_what_fails_and_is_not_repeated(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    _kill_in_the_middle(words, sweep)
    places = [path.parent for path in sweep.glob("cells/*/lock")]
    deadline = time.time() + 300
    while any(map(is_busy, places)) and time.time() < deadline:
        time.sleep(0.1)
    states = {read_status(place)["state"] for place in places}
    assert {"done", "preempted"} <= states <= {"done", "preempted", "queued"}, "the cell that ran ends, and says so"
    done = {path: path.stat().st_mtime_ns for path in sweep.glob("cells/*/scores.jsonl")}
    assert done

    assert main(words) == 3
    said = capsys.readouterr()
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

    def one_done_and_one_judged() -> bool:
        told = [read_status(path.parent) for path in sweep.glob("cells/*/status.json")]
        judged = any(status["state"] == "running" and status.get("stage") == "evaluation" for status in told)
        return judged and any(status["state"] == "done" for status in told)

    _wait_until(one_done_and_one_judged, process)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find a tree of processes")
def test_a_killed_tree_of_processes_loses_nothing_that_is_done(
    words: list[str], question_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every process of the study is killed at once while its second cell trains; others are refused before that."""
    sweep, question = tmp_path / "sweep", tmp_path / "two.yaml"
    arms = {name: QUESTION["arms"][name] for name in ("fsq", "coarse")}
    question.write_text(yaml.safe_dump({**QUESTION, "arms": arms}, sort_keys=False))
    words = [str(question) if word == str(question_file) else word for word in words]
    process = subprocess.Popen([sys.executable, "-m", "omnikit", *words], stdout=subprocess.DEVNULL)
    _wait_until(lambda: (sweep / "sweep.json").exists(), process)
    assert main(words) == 2 and "Another command runs the sweep" in capsys.readouterr().err
    assert main([*words, "seeds=[7]"]) == 2 and "Another command" in capsys.readouterr().err
    _wait_until(lambda: _one_done_and_one_trains(sweep) and len(_tree(process.pid)) >= 3, process)
    tree = _tree(process.pid)
    assert len(tree) >= 3, "the command, a cell, and what it runs"
    for number in tree:
        os.kill(number, signal.SIGKILL)
    process.wait()
    cells = [path.parent for path in sweep.glob("cells/*/cell.json")]
    deadline = time.time() + 60
    while any(is_busy(place) for place in cells) and time.time() < deadline:
        time.sleep(0.1)  # until the last of them is gone
    assert not any(is_busy(place) for place in cells)
    for path in sweep.rglob("*.json"):
        json.loads(path.read_text())
    (done,) = sweep.glob("cells/*/scores.jsonl")
    before = done.stat().st_mtime_ns
    assert sorted(read_status(place)["state"] for place in cells) == ["done", "running"]
    assert main(["report", str(sweep)]) == 0
    assert "1/1 done" in capsys.readouterr().out

    assert main([*words, "seeds=[7]"]) == 2 and "another plan" in capsys.readouterr().err
    assert main(words) == 0
    assert "2 of 2 cells done" in capsys.readouterr().out
    assert done.stat().st_mtime_ns == before, "what was done is not done again"


def _wait_until(there: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it is there, or the process has ended, or ten minutes have passed."""
    deadline = time.time() + 600
    while process.poll() is None and time.time() < deadline and not there():
        time.sleep(0.1)


def _one_done_and_one_trains(sweep: Path) -> bool:
    told = [read_status(path.parent) for path in sweep.glob("cells/*/status.json")]
    trains = any(status["state"] == "running" and status["stage"] == "tokenizer" for status in told)
    return trains and any(status["state"] == "done" for status in told)


def _tree(number: int) -> list[int]:
    """A process and all that it started, directly or not, children last."""
    found = [number]
    for task in Path(f"/proc/{number}/task").glob("*/children"):
        found += [other for child in task.read_text().split() for other in _tree(int(child))]
    return found


def test_arms_matched_by_flops_do_as_much_and_their_use_of_units_is_drawn(
    words: list[str], question_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, question = tmp_path / "sweep", tmp_path / "wide.yaml"
    wide = ["tokenizer.widths=[16,24,64,48]", "tokenizer.decoder_dim=64"]
    question.write_text(yaml.safe_dump({**QUESTION, "arms": {"fsq": [], "wide": wide}}, sort_keys=False))
    words = [str(question) if word == str(question_file) else word for word in words]
    assert main([*words, "budget.steps.tokenizer=6", "match=flops"]) == 0
    told = capsys.readouterr()
    assert "counting the FLOPs of one step of tokenizer of wide" in told.err and "2 of 2 cells done" in told.out
    cells = {cell["arm"]: sweep / cell["folder"] for cell in read_json(sweep / "sweep.json")["cells"]}
    costs = {arm: read_status(place)["cost"] for arm, place in cells.items()}
    assert costs["fsq"]["steps"] == 6 > costs["wide"]["steps"] >= 1
    each = {arm: cost["flops"] / cost["steps"] for arm, cost in costs.items()}
    assert costs["wide"]["steps"] == max(1, round(6 * each["fsq"] / each["wide"]))
    assert main([*words, "budget.steps.tokenizer=6", "match=flops", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "counting" not in told.err and told.out.count("  done  ") == 2
    assert main(["report", str(sweep)]) == 0
    page = (sweep / "report" / "report.html").read_text()
    assert "FLOPs, T" in page and '<section id="units">' in page and "fsq: " in page


def test_what_is_heard_in_a_voice_is_drawn_and_its_takes_are_played(
    words: list[str], question_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The system that ships, in two arms that differ in nothing that is judged, so that nothing trains."""
    sweep, question = tmp_path / "sweep", tmp_path / "voice.yaml"
    asked = {
        **{"name": "voice", "question": "Is it heard?", "kind": "one_at_a_time", "stages": [], "seeds": [0, 1]},
        **{"base": ["experiment=emova_tiny", "weights=tiny"], "arms": {"other": ["answers=cascade"]}},
        **{"primary": "voice.emotion_recognised_made_speech", "judges": ["voice"]},
    }
    question.write_text(yaml.safe_dump(asked, sort_keys=False))
    words = [str(question) if word == str(question_file) else word for word in words]
    assert main(words) == 0
    assert "2 of 2 cells done" in capsys.readouterr().out
    (cell, _) = read_json(sweep / "sweep.json")["cells"]
    scores = {row["metric"]: row for row in read_lines(sweep / cell["folder"] / "scores.jsonl")}
    heard = scores["voice.gender_recognised_made_speech"]
    assert sum(map(sum, heard["confusion"]["counts"])) == len(heard["items"]) == 2
    takes = json.loads((sweep / cell["folder"] / "media" / "media.json").read_text())
    assert takes and all((sweep / cell["folder"] / "media" / take["file"]).is_file() for take in takes)
    assert main(["report", str(sweep)]) == 0
    page = (sweep / "report" / "report.html").read_text()
    maps = page[page.index('<section id="confusions">') :].split("</section>")[0]
    assert maps.count("<svg") == 2 * sum("confusion" in row for row in scores.values())
    listening = page[page.index('<section id="listen">') :].split("</section>")[0]
    assert listening.count("<audio") == 2 * len(takes)


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
