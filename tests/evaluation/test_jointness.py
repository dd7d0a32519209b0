"""What only the picture tells: which questions count, and that the control loses what the picture gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omnikit.evaluation import jointness as jointness_module
from omnikit.evaluation.jointness import NAME, judge_jointness, names_color
from omnikit.evaluation.judge import judge_all
from omnikit.evaluation.material import chosen
from omnikit.system import System
from omnikit.types import SpokenTurn, Style


def test_questions_that_name_a_color_do_not_count() -> None:
    assert names_color({"messages": [{"text": "is there a red star?"}]})
    assert not names_color({"messages": [{"text": "what color is the big star?"}]})


def test_a_system_that_looks_is_right_and_its_control_is_not(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that reads the emotion off the picture it is shown."""
    records = [record for record in chosen(corpus, "dialogue.test", 30, 0) if not names_color(record)]
    answers = {id(record): record["messages"][1]["style"]["emotion"] for record in records}
    assert len(set(answers.values())) > 1
    shown: dict[int, str] = {}

    def see(path: Path) -> Any:
        picture = see_really(path)
        (record,) = [item for item in records if corpus / item["messages"][0]["image"]["path"] == path]
        shown[id(picture)] = answers[id(record)]
        return kept.append(picture) or picture

    def write(system: System, task: str, users: list[Any], seed: int) -> list[SpokenTurn]:
        return [SpokenTurn(text="", style=Style(({"emotion": shown[id(user[0].frames)]},))) for user in users]

    kept: list[Any] = []
    see_really = random_system.see
    monkeypatch.setattr(random_system, "see", see)
    monkeypatch.setattr(jointness_module, "write", write)
    figures = [figure for figure in judge_jointness(random_system, corpus, 30, 0) if not figure.group]
    assert [figure.name for figure in figures] == [NAME, f"{NAME}, other pictures"]
    assert figures[0].value == 100 and figures[1].value < 100
    assert figures[0].num_items == len(records)


def test_too_few_questions_are_told(random_system: System, corpus: Path) -> None:
    (figure,) = judge_jointness(random_system, corpus, 1, 0)
    assert figure.num_items == 0 and "fewer than two" in figure.how


def test_a_tokenizer_that_reads_no_phones_is_judged_by_the_rest(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_system.part("tokenizer"), "labels", "characters", raising=False)
    figures = judge_all(
        random_system, corpus, num_items=2, seed=0, parts=["tokenizer", "detokenizer", "control"]
    ).figures
    why = [figure for figure in figures if "learns from characters" in figure.how]
    assert {figure.part for figure in why} == {"tokenizer", "detokenizer", "control"}
    assert all(figure.num_items == 0 for figure in why)
    assert any(figure.name == "codebook used" and figure.num_items > 0 for figure in figures)
