"""A policy decides how a reply is said: it knows what was asked and answered, and the reply says that it decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import omnikit
from omnikit.conversation import Conversation
from omnikit.errors import OmnikitError
from omnikit.formats.emova_json import EmovaJsonFormat
from omnikit.reply import Reply
from omnikit.style_policy import ByUserStyle, decide
from omnikit.styles.label_centroid import LabelCentroid
from omnikit.system import System
from omnikit.types import Labels, SpokenTurn, Style

QUESTION = "is there a star?"


@pytest.fixture(scope="module")
def tiny() -> System:
    return omnikit.load("tiny")


class Noting:
    """A policy that answers `labels` and keeps what it was told."""

    def __init__(self, labels: Labels) -> None:
        self.labels, self.told = labels, []

    def __call__(self, turn: SpokenTurn) -> Labels:
        self.told.append(turn)
        return self.labels


def every_reply(system: System, **asked: Any) -> Iterator[Reply]:
    yield system.reply(**asked)
    *_, last = system.stream_reply(**asked)
    yield last.reply
    yield Conversation(system).reply(**asked)


def test_a_policy_decides_alike_in_every_way_of_asking(tiny: System) -> None:
    policy = Noting({"gender": "male", "emotion": "sad"})
    own = tiny.reply(text=QUESTION)
    assert own.decided_by["emotion"] == "model" and own.turn.style.source == "model"
    for reply in every_reply(tiny, text=QUESTION, style=policy):
        assert reply.decided_by == {"gender": "policy", "emotion": "policy", "speed": "model", "pitch": "model"}
        assert reply.as_dict()["style_decided_by"]["emotion"] == "policy"
        assert reply.turn.style.source == "policy"
        labels = dict(own.turn.style.labels[0])
        assert dict(reply.turn.style.labels[0]) == {**labels, "gender": "male", "emotion": "sad"}
        expected = tiny.style_of(reply.turn.style.labels[0]).vector
        assert torch.equal(reply.turn.style.vector, expected)
        assert reply.turn.raw == own.turn.raw, "what is said does not depend on the policy"
    assert len(policy.told) == 3, "a policy is asked once a reply"


def test_a_policy_knows_what_was_asked_and_answered(tiny: System) -> None:
    policy = Noting({})
    own = tiny.reply(text=QUESTION)
    for reply in every_reply(tiny, text=QUESTION, style=policy):
        assert reply.decided_by == own.decided_by and reply.turn.style.source == "model"
        turn = policy.told[-1]
        assert turn.text == own.turn.text and turn.units is None
        assert turn.user_text == (own.turn.user_text or QUESTION)
        assert turn.style.labels[0]["emotion"] == own.turn.style.labels[0]["emotion"]
    said = tiny.say("the red star is big.", style=Noting({"pitch": "low"}))
    assert said.decided_by == {"gender": "default", "emotion": "default", "speed": "default", "pitch": "policy"}


def test_what_the_style_module_does_not_know_is_named_as_the_policys(tiny: System) -> None:
    for ask in (tiny.reply, Conversation(tiny).reply, lambda **asked: list(tiny.stream_reply(**asked))):
        with pytest.raises(OmnikitError, match="The style policy answered") as caught:
            ask(text=QUESTION, style=Noting({"emotion": "hapy"}))
        assert "Did you mean 'happy'" in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 8
    with pytest.raises(OmnikitError, match="answers with labels"):
        tiny.reply(text=QUESTION, style=lambda turn: None)
    with pytest.raises(OmnikitError, match="not both"):
        tiny.reply(text=QUESTION, style=Noting({}), reference="voice.wav")
    mute = System(tiny.plan, {slot: part for slot, part in tiny.parts.items() if slot != "style"})
    with pytest.raises(OmnikitError, match="has no style"):
        mute.reply(text=QUESTION, style=Noting({}))


def test_a_table_answers_to_how_the_user_spoke(tiny: System) -> None:
    policy = ByUserStyle({"emotion": {"angry": "neutral", "sad": "happy"}})
    module = LabelCentroid(dim=4)
    answer = '"assistant response text": "yes", "assistant response emotion": "sad", "assistant response pitch": "low"}'
    for heard, emotion, by in (("angry", "neutral", "policy"), ("happy", "sad", "model")):
        spoken = f'"user question emotion": "{heard}", "user question pitch": "normal"'
        turn = EmovaJsonFormat().parse("dialogue", f"{{{spoken}, {answer}", tiny.part("backbone"))
        assert turn.parse_ok
        style, decided_by = decide(module, turn, policy)
        assert style.labels[0]["emotion"] == emotion and style.labels[0]["pitch"] == "low"
        assert decided_by == {"gender": "default", "emotion": by, "speed": "default", "pitch": "model"}
    assert policy(SpokenTurn(text="yes")) == {}


def test_the_user_goes_over_the_model_and_a_whole_style_over_both() -> None:
    module = LabelCentroid(dim=4)
    turn = SpokenTurn(text="yes", style=Style(({"emotion": "sad", "pitch": "shrill"},)))
    style, decided_by = decide(module, turn, {"speed": "slow"})
    assert (style.source, style.labels[0]["emotion"]) == ("user", "sad")
    assert decided_by == {"gender": "default", "emotion": "model", "speed": "user", "pitch": "default"}
    whole = module.from_labels([{"emotion": "happy"}])
    assert decide(module, turn, whole) == (whole, dict.fromkeys(module.factors, "user"))
    assert decide(None, turn, {}) == (Style(), {})
