"""Running a sweep: failures, retries, one plan and one runner a place, launchers of processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ablation.conftest import plan_of_cells

from omnikit.ablation import launchers
from omnikit.ablation.cell import OK, PREEMPTED, SCORES, is_done
from omnikit.ablation.files import read_json
from omnikit.ablation.launchers import Local, cells_at_once, environment, make_launcher
from omnikit.ablation.plan import Plan
from omnikit.ablation.runner import OnFailure, missing, opened, run_cells
from omnikit.ablation.status import cause, fresh, read_status, read_step, write_status
from omnikit.errors import OmnikitError


@dataclass
class Scripted:
    """A launcher whose cells end as written: codes by cell, one for each attempt."""

    codes: dict[str, list[int]]
    started: list[str] = field(default_factory=list)

    def run(self, folders: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        for folder in folders:
            self.started.append(folder.name)
            code = self.codes.get(folder.name, [OK]).pop(0) if self.codes.get(folder.name) else OK
            state = {OK: "done", PREEMPTED: "preempted"}.get(code, "failed")
            (folder / SCORES).write_text("")
            write_status(folder, {**fresh(), "state": state, "exception": None if state == "done" else f"code {code}"})
            yield folder, code


def run(folder: Path, plan: Plan, launcher: Scripted, on_failure: str = "continue") -> dict[str, str]:
    with opened(folder, plan) as todo:
        failures = run_cells(folder, todo, launcher, OnFailure.parse(on_failure))
    return {item.cell.id: item.cause for item in failures}


def test_all_failures_are_told_and_the_rest_runs(tmp_path: Path) -> None:
    launcher = Scripted({"cell0": [3], "cell2": [3]})
    assert run(tmp_path, plan_of_cells(4), launcher) == {"cell0": "code 3", "cell2": "code 3"}
    assert launcher.started == ["cell0", "cell1", "cell2", "cell3"]
    again = Scripted({"cell2": [3]})
    assert run(tmp_path, plan_of_cells(4), again) == {"cell2": "code 3"}
    assert again.started == ["cell0", "cell2"]


def test_stop_starts_no_other_cell(tmp_path: Path) -> None:
    launcher = Scripted({"cell1": [3]})
    assert run(tmp_path, plan_of_cells(4), launcher, "stop") == {
        "cell1": "code 3",
        "cell2": "not started",
        "cell3": "not started",
    }
    assert launcher.started == ["cell0", "cell1"]


def test_retries_are_counted_and_preemption_is_no_failure(tmp_path: Path) -> None:
    launcher = Scripted({"cell0": [3, 3, OK], "cell1": [PREEMPTED, PREEMPTED, PREEMPTED, OK], "cell2": [3, 3, 3, OK]})
    assert run(tmp_path, plan_of_cells(3), launcher, "retry:2") == {"cell2": "code 3"}
    assert [launcher.started.count(name) for name in ("cell0", "cell1", "cell2")] == [3, 4, 3]


@pytest.mark.parametrize("text", ["retry", "retry:0", "retry:x", "stop:1", "abort"])
def test_other_words_for_failure_are_refused(text: str) -> None:
    with pytest.raises(OmnikitError, match="retry:n"):
        OnFailure.parse(text)


def test_another_plan_in_the_same_place_is_refused(tmp_path: Path) -> None:
    run(tmp_path, plan_of_cells(2), Scripted({}))
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(OmnikitError, match=r"another plan \(other arms, cells\)"), opened(tmp_path, plan_of_cells(3)):
        pass
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_seeds_can_be_added_and_not_taken_away(tmp_path: Path) -> None:
    one = plan_of_cells(2)
    more = [replace(cell, id=f"{cell.id}-1", seed=1) for cell in one.cells]
    two = replace(one, question=replace(one.question, seeds=(*one.question.seeds, 1)), cells=(*one.cells, *more))
    run(tmp_path, one, Scripted({}))
    launcher = Scripted({})
    assert run(tmp_path, two, launcher) == {} and launcher.started == [cell.id for cell in more]
    assert read_json(tmp_path / "sweep.json")["seeds"] == list(two.question.seeds)
    with pytest.raises(OmnikitError, match=r"another plan \(other seeds, cells\)"), opened(tmp_path, one):
        pass


def test_a_plan_that_cannot_be_read_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, plan_of_cells(2), Scripted({}))
    whole = read_json(tmp_path / "sweep.json")
    (tmp_path / "sweep.json").write_text('{"format": 1, "pla')
    launcher = Scripted({})
    assert run(tmp_path, plan_of_cells(2), launcher) == {} and launcher.started == []
    assert "what is done stays done" in capsys.readouterr().err
    assert read_json(tmp_path / "sweep.json")["plan"] == whole["plan"]


def test_two_runners_in_one_place_are_refused(tmp_path: Path) -> None:
    plan = plan_of_cells(1)
    with opened(tmp_path, plan), pytest.raises(OmnikitError, match="Another command"), opened(tmp_path, plan):
        pass
    with opened(tmp_path, plan) as todo:
        assert len(todo) == 1


def test_a_corrupt_status_counts_as_not_done(tmp_path: Path) -> None:
    plan = plan_of_cells(1)
    run(tmp_path, plan, Scripted({}))
    place = tmp_path / plan.cells[0].folder
    assert is_done(place)
    (place / "status.json").write_text('{"state": "do')
    assert missing(tmp_path, plan.cells) and "no JSON" in read_status(place)["exception"]
    assert run(tmp_path, plan, Scripted({})) == {}


def test_a_process_that_dies_without_a_word_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(launchers, "words_of", lambda folder: [sys.executable, "-c", code])
    plan = plan_of_cells(1)
    with opened(tmp_path, plan) as todo:
        (failure,) = run_cells(tmp_path, todo, Local(), OnFailure())
    assert failure.state == "failed" and failure.cause == "ended by signal 9 (out of memory?)"


def test_local_processes_run_as_many_at_a_time_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, sys, time; print(sys.argv[1], os.environ['CUDA_VISIBLE_DEVICES'], time.time()); time.sleep(0.3)"
    monkeypatch.setattr(launchers, "words_of", lambda folder: [sys.executable, "-c", code, folder.name])
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    ended = dict(Local(jobs=2, gpus=(4, 7)).run(folders))
    assert ended == dict.fromkeys(folders, 0)
    said = [(folder / "process.txt").read_text().split() for folder in folders]
    assert {row[1] for row in said} == {"4", "7"}


def test_a_place_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launchers, "num_cores", lambda: 8)
    assert environment(0, 4, (), None)["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in environment(0, 1, (), None)
    assert environment(0, 1, (), 3)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(0, 4, (), None)["OMP_NUM_THREADS"] == "5"


def test_without_a_word_cells_share_the_cores_and_accelerators_have_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for cores, (jobs, threads) in {1: (1, None), 2: (2, "1"), 4: (4, "1"), 16: (4, "4")}.items():
        monkeypatch.setattr(launchers, "num_cores", lambda cores=cores: cores)
        assert cells_at_once((), has_accelerator=False) == jobs
        assert environment(0, jobs, (), None).get("OMP_NUM_THREADS") == threads, "no core has two threads"
    assert cells_at_once((), has_accelerator=True) == 1
    assert cells_at_once((0, 3, 5), has_accelerator=True) == 3


def test_a_single_cell_has_all_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    code = "import os; print(os.environ.get('OMP_NUM_THREADS'))"
    monkeypatch.setattr(launchers, "words_of", lambda folder: [sys.executable, "-c", code])
    assert dict(Local(jobs=2).run([tmp_path])) == {tmp_path: 0}
    assert (tmp_path / "process.txt").read_text() == "None\n"


def test_launchers_are_known_by_name(tmp_path: Path) -> None:
    node = {"name": "local", "jobs": 2, "gpus": [], "threads": None}
    assert make_launcher(node, tmp_path) == Local(2)
    with pytest.raises(OmnikitError, match="jobs=0"):
        make_launcher({**node, "jobs": 0}, tmp_path)
    with pytest.raises(OmnikitError, match="Did you mean 'local'"):
        make_launcher({**node, "name": "locally"}, tmp_path)


def test_progress_lines_and_causes_are_read() -> None:
    assert read_step("tokenizer  step 3/20  loss 1.234  0.5 steps/s  0:10 left") == ("tokenizer", 3, 20)
    assert read_step("judging tokenizer") is None
    told = ["omnikit train: No such thing.", "Give another."]
    assert cause(["x", *told], 2) == "\n".join(told)
    traceback = ["Traceback (most recent call last):", '  File "x"', "    y()", "ValueError: z"]
    assert cause(traceback, 1) == "ValueError: z"
    assert cause([], 1) == "ended with code 1 and said nothing"
