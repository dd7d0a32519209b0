"""What does not parse whole is counted for every task by itself, and no other figure moves for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omnikit.evaluation import language as language_module
from omnikit.evaluation.figures import Figure
from omnikit.evaluation.language import recognition_figures, speaking_figures
from omnikit.evaluation.scores import higher_is_better
from omnikit.system import System
from omnikit.types import SpokenTurn

COLUMNS = ("transcripts unparsed, any text", "transcripts unparsed, questions", "text to units, unparsed")


def judged(system: System, corpus: Path) -> dict[str, Figure]:
    figures = [*recognition_figures(system, corpus, 2, 0), *speaking_figures(system, corpus, 2, 0)]
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}


def test_transcripts_and_written_units_that_do_not_parse_have_a_row(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = language_module.write

    def written(broken: int) -> Any:
        def turns(system: System, task: str, users: Sequence[Any], seed: int = 0) -> list[SpokenTurn]:
            found = write(system, task, users, seed)
            return [replace(turn, parse_ok=number >= broken) for number, turn in enumerate(found)]

        return turns

    tables = []
    for broken in (0, 1):
        monkeypatch.setattr(language_module, "write", written(broken))
        tables.append(judged(random_system, corpus))
    whole, torn = tables
    for name in COLUMNS:
        own = torn[name].items
        assert own is not None and own.errors == [1.0, *[0.0] * (len(own.ids) - 1)] and set(own.lengths) == {1.0}
        assert whole[name].value == 0.0 and torn[name].value == pytest.approx(100 / len(own.ids))
        assert higher_is_better(torn[name]) is False and torn[name].num_items == len(own.ids) >= 2
    others = [{name: repr(own) for name, own in table.items() if name not in COLUMNS} for table in tables]
    assert others[0] == others[1] and "word error rate, any text" in others[0]
