"""What counts as right: answers made by the rule are, changed ones are not; batches answer as `System.reply` does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnikit.data.questions import KINDS, Exchange, question
from omnikit.data.scenes import random_scene
from omnikit.evaluation import answers as answers_module
from omnikit.evaluation.answers import Answer, judged_answers, spoken_replies
from omnikit.evaluation.language import judged
from omnikit.evaluation.material import chosen, same_words, units_of
from omnikit.metrics.rates import words
from omnikit.system import System
from omnikit.types import SpokenTurn, Style


def exchanges(num: int) -> list[Exchange]:
    rng = random.Random(5)
    found = []
    while len(found) < num:
        exchange = question(random_scene(rng), rng, KINDS[len(found) % len(KINDS)])
        if exchange is not None:
            found.append(exchange)
    return found


def record_of(exchange: Exchange) -> dict[str, Any]:
    answer = {"role": "assistant", "text": exchange.answer, "style": exchange.style}
    scene = {"turns": [{"kind": exchange.kind, "value": exchange.value}]}
    return {"messages": [{"role": "user", "text": exchange.question}, answer], "scene": scene}


def turn_of(exchange: Exchange, **style: str) -> SpokenTurn:
    return SpokenTurn(text=exchange.answer, user_text=exchange.question, style=Style(({**exchange.style, **style},)))


def test_every_answer_of_the_rule_is_right() -> None:
    for exchange in exchanges(350):
        right = judged(turn_of(exchange), record_of(exchange))
        assert right.exact and right.names_value and right.style and not right.unparsed, exchange


def test_the_answer_to_another_question_of_the_kind_is_wrong() -> None:
    found = exchanges(350)
    for kind in KINDS:
        same_kind = [exchange for exchange in found if exchange.kind == kind]
        told = [exchange for exchange in same_kind if exchange.value != "same"]
        pairs = [(a, b) for a in told for b in told if a.value != b.value]
        assert len(pairs) > 50
        for asked, other in pairs:
            right = judged(turn_of(other), record_of(asked))
            assert not right.exact
            assert not right.names_value, (asked, other)


def test_one_wrong_label_makes_a_style_wrong_and_other_words_an_answer() -> None:
    exchange = exchanges(1)[0]
    for factor, value in (("emotion", "bored"), ("speed", "very"), ("pitch", "none")):
        assert not judged(turn_of(exchange, **{factor: value}), record_of(exchange)).style
    assert not judged(SpokenTurn(text=""), record_of(exchange)).style
    assert not judged(SpokenTurn(text=exchange.answer + " yes"), record_of(exchange)).exact
    assert judged(SpokenTurn(text=exchange.answer, parse_ok=False), record_of(exchange)).unparsed


def test_same_words_allows_one_in_ten_and_never_silence() -> None:
    ten = words("a b c d e f g h i j")
    assert same_words(ten, ten)
    assert same_words(ten, ten[:-1])
    assert not same_words(ten, ten[:-2])
    assert not same_words(ten[:9], ten[:8])
    assert not same_words([], [])


def test_replies_in_a_batch_are_those_of_the_system_one_by_one(random_system: System, corpus: Path) -> None:
    records = chosen(corpus, "dialogue.test", 3, 0) + chosen(corpus, "dialogue.test_voice", 3, 0)
    turns = spoken_replies(random_system, corpus, records, seed=0)
    assert len({record["messages"][0]["audio"]["duration_s"] for record in records}) > 1
    for turn, record in zip(turns, records, strict=True):
        user = record["messages"][0]
        picture, question = corpus / user["image"]["path"], corpus / user["audio"]["path"]
        alone = random_system.reply(image=picture, audio=question, constrained=False)
        assert turn.raw == alone.turn.raw
    assert len({turn.raw for turn in turns}) == len(turns)


def test_an_exchange_counts_only_when_all_four_are_right(
    random_system: System, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = chosen(corpus, "dialogue.test", 2, 0)
    units = units_of(random_system, [np.zeros(4000, np.float32)])[0]
    right = [
        SpokenTurn(
            text=record["messages"][1]["text"],
            user_text=record["messages"][0]["text"],
            style=Style((record["messages"][1]["style"],)),
            units=units,
        )
        for record in records
    ]
    said = [turn.text for turn in right]
    monkeypatch.setattr(answers_module, "spoken_replies", lambda *_: right)
    monkeypatch.setattr(answers_module, "transcripts", lambda _, rows: said[: len(rows)])
    monkeypatch.setattr(answers_module, "write", lambda *_: right)
    perfect = Answer(True, True, True, True, False, aloud=True, written=True, typed=True, tone=None)
    assert judged_answers(random_system, corpus, records, 0) == [perfect] * 2
    said[1] = "something else"
    found = judged_answers(random_system, corpus, records, 0)
    assert [answer.all_right for answer in found] == [True, False]
    assert [(answer.aloud, answer.written, answer.typed) for answer in found] == [(True,) * 3, (False, True, True)]
    monkeypatch.setattr(answers_module, "write", lambda *_: [right[0], SpokenTurn(text="nothing")])
    assert [answer.typed for answer in judged_answers(random_system, corpus, records, 0)] == [True, False]
    monkeypatch.setattr(answers_module, "spoken_replies", lambda *_: [right[0], SpokenTurn(text=right[1].text)])
    mute = Answer(False, True, False, False, False, aloud=False, written=True, typed=False, tone=None)
    assert judged_answers(random_system, corpus, records, 0)[1] == mute


def test_the_tone_is_judged_by_every_label_that_a_reply_gives() -> None:
    record = {"messages": [{"style": {"emotion": "sad", "pitch": "low", "speed": "fast"}}, {"text": "yes"}]}
    for labels, right in (({"emotion": "sad", "pitch": "low"}, True), ({"emotion": "sad", "pitch": "high"}, False)):
        assert answers_module.names_tone(SpokenTurn(text="yes", user_style=Style((labels,))), record) is right
    assert answers_module.names_tone(SpokenTurn(text="yes"), record) is None


def test_the_random_system_answers_nothing_right(random_system: System, corpus: Path) -> None:
    before = torch.random.get_rng_state()
    found = judged_answers(random_system, corpus, chosen(corpus, "dialogue.test_scene", 2, 0), 0)
    assert [answer.all_right for answer in found] == [False, False]
    assert torch.equal(before, torch.random.get_rng_state())
