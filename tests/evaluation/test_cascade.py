"""A cascade answers through text alone, and the wait for its first sound counts no more than what is waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnikit.errors import UnknownName
from omnikit.evaluation import cascade as cascade_module
from omnikit.evaluation import latency as latency_module
from omnikit.evaluation.answers import judged_answers
from omnikit.evaluation.cascade import CASCADE, END_TO_END, cascaded_replies
from omnikit.evaluation.judge import judge_all
from omnikit.evaluation.latency import first_sound_s, judge_latency, new_units
from omnikit.evaluation.material import chosen, units_of
from omnikit.slots.backbone import Segment
from omnikit.system import System
from omnikit.types import SpokenTurn, Style, Units


@pytest.fixture
def units(random_system: System) -> Units:
    return units_of(random_system, [np.zeros(8000, np.float32)])[0]


def test_every_step_knows_only_the_text_before_it(
    random_system: System, corpus: Path, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any]] = []

    def write(system: System, task: str, users: Sequence[Sequence[Segment]], seed: int) -> list[SpokenTurn]:
        asked.append((task, [[segment.text for segment in user] for user in users]))
        if task == "tts":
            return [SpokenTurn(text="", units=units)] * len(users)
        return [SpokenTurn(text=f"to {user[1].text}", style=Style(({"emotion": "sad"},))) for user in users[:-1]] + [
            SpokenTurn(text="")
        ]

    monkeypatch.setattr(cascade_module, "transcripts", lambda _, waves: [f"heard {n}" for n in range(len(waves))])
    monkeypatch.setattr(cascade_module, "write", write)
    turns = cascaded_replies(random_system, corpus, chosen(corpus, "dialogue.test", 2, 0), 0)
    assert asked == [("dialogue", [[None, "heard 0"], [None, "heard 1"]]), ("tts", [["to heard 0"], [""]])]
    assert [(turn.user_text, turn.text) for turn in turns] == [("heard 0", "to heard 0"), ("heard 1", "")]
    assert turns[0].units is units and turns[0].style.labels == ({"emotion": "sad"},)
    assert turns[1].units is None, "what says nothing is not spoken"


def test_a_random_cascade_answers_nothing_right(random_system: System, corpus: Path) -> None:
    found = judged_answers(random_system, corpus, chosen(corpus, "dialogue.test", 2, 0), 0, CASCADE)
    assert [answer.all_right for answer in found] == [False, False]
    with pytest.raises(UnknownName, match="Did you mean 'cascade'"):
        judge_all(random_system, corpus, num_items=1, seed=0, answers="cascad")


def test_the_wait_counts_what_is_waited_for(
    random_system: System, corpus: Path, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = Style(({"emotion": "sad"},))
    half = replace(units, codes=units.codes[:, :, :5], lengths=units.lengths * 0 + 5)
    asked: list[tuple[str, Any]] = []

    def written(system: System, task: str, user: Sequence[Segment], seed: int) -> Iterator[SpokenTurn]:
        asked.append((task, user[-1].text))
        turns = {
            "asr": [SpokenTurn(text="wh"), SpokenTurn(text="what")],
            "dialogue": [
                SpokenTurn(text="a"),
                *[SpokenTurn(text="a star", style=style, units=u) for u in (half, units)],
            ],
            "tts": [SpokenTurn(text="", units=half)],
        }[task]
        for turn in turns:
            time.sleep(0.5 if turn.units is units else 0.0)
            yield turn

    monkeypatch.setattr(latency_module, "written", written)
    (record,) = chosen(corpus, "dialogue.test", 1, 0)
    assert first_sound_s(random_system, corpus, record, 0, END_TO_END) > 0
    started = time.perf_counter()
    wait = first_sound_s(random_system, corpus, record, 0, CASCADE)
    assert 0 < wait < time.perf_counter() - started - 0.45, "units written beside the answer are not waited for"
    assert [task for task, _ in asked] == ["dialogue", "asr", "dialogue", "tts"]
    assert asked[2:] == [("dialogue", "what"), ("tts", "a star")]
    assert [piece.codes.shape[-1] for _, piece in new_units(written(random_system, "dialogue", [Segment()], 0))] == [
        5,
        units.codes.shape[-1] - 5,
    ]


def test_an_answer_without_sound_has_no_wait(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_module, "written", lambda *_: iter([SpokenTurn(text="no units")]))
    for way in (END_TO_END, CASCADE):
        (figure,) = judge_latency(random_system, corpus, 17, 0, way)
        assert math.isnan(figure.value) and figure.num_items == 0
        assert figure.items is not None and figure.items.lengths == [0.0] * 2
