"""How long a reply may be: a setting of the system, an argument of every call; a reply that it cut short says so."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

import omnikit
from omnikit.cli import main
from omnikit.conversation import Conversation
from omnikit.data.media import write_audio
from omnikit.errors import OmnikitError, WeightsError
from omnikit.reply import MAX_NEW_TOKENS
from omnikit.surgery import graft
from omnikit.system import System
from omnikit.system_file import read_settings
from omnikit.wiring import Node

QUESTION = "is there a star?"
SMALL = {"hidden": 16, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate": 16, "max_positions": 512}
UNITS = {"unit_rate": 25, "layout": "frame", "vocab_id": "test", "codebooks": (6,)}


@pytest.fixture(scope="module")
def tiny() -> System:
    return omnikit.load("tiny")


@pytest.fixture(scope="module")
def num_positions(tiny: System) -> int:
    """What the whole reply to the question takes, its end included."""
    reply = tiny.reply(text=QUESTION)
    backbone, form = tiny.part("backbone"), tiny.part("format")
    assert reply.turn.parse_ok and not reply.truncated
    return backbone.count_tokens(form.target("dialogue", reply.turn, backbone))


def mind(limit: int = MAX_NEW_TOKENS) -> System:
    system = System.assemble({"backbone": Node("backbone/hf_causal", {**SMALL, **UNITS}), "format": "format/json"})
    system.max_new_tokens = limit
    return system


def test_a_reply_that_has_room_is_the_same_and_one_that_has_none_says_so(tiny: System, num_positions: int) -> None:
    whole = tiny.reply(text=QUESTION)
    roomy = tiny.reply(text=QUESTION, max_new_tokens=num_positions + 4)
    assert roomy.turn.raw == whole.turn.raw and not roomy.truncated and not roomy.as_dict()["truncated"]
    short = tiny.reply(text=QUESTION, max_new_tokens=num_positions - 4)
    assert short.truncated and short.as_dict()["truncated"]
    assert short.turn.parse_ok, "a constrained reply is well-formed, however short"
    assert short.turn.text == whole.turn.text
    assert int(short.turn.units.lengths[0]) < int(whole.turn.units.lengths[0])


def test_every_way_to_ask_takes_the_limit(tiny: System, num_positions: int) -> None:
    limit = num_positions - 4
    short = tiny.reply(text=QUESTION, max_new_tokens=limit)
    *_, last = tiny.stream_reply(text=QUESTION, max_new_tokens=limit)
    talk = Conversation(tiny, max_new_tokens=limit)
    for reply in (last.reply, talk.reply(text=QUESTION)):
        assert reply.turn.raw == short.turn.raw and reply.truncated
    said = tiny.say("the red star is big.", max_new_tokens=9)
    assert said.truncated and int(said.turn.units.lengths[0]) == 8
    assert not Conversation(tiny).reply(text=QUESTION).truncated
    with pytest.raises(OmnikitError, match="max_new_tokens is 3"):
        tiny.reply(text=QUESTION, max_new_tokens=3)


def test_a_transcript_that_was_cut_is_told(tiny: System, caplog: pytest.LogCaptureFixture) -> None:
    spoken = tiny.say("the red star is big.").audio
    with caplog.at_level(logging.WARNING, "omnikit"):
        words = tiny.transcribe(spoken)
        assert words and not caplog.records
        assert len(tiny.transcribe(spoken, max_new_tokens=3)) < len(words)
    assert [record.message for record in caplog.records] == [
        "The transcript was cut short; give more max_new_tokens than 3."
    ]


@pytest.mark.parametrize("heat", [0.0, 1.0])
def test_the_setting_is_of_the_system_and_a_call_goes_over_it(heat: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = mind(90)
    own = system.reply(text="a", temperature=heat, seed=1)
    free = system.reply(text="a", temperature=heat, seed=1, constrained=False)
    assert free.truncated and not free.turn.parse_ok, "random weights write no end"
    assert own.turn.raw == system.reply(text="a", temperature=heat, seed=1, max_new_tokens=90).turn.raw
    assert Conversation(system, temperature=heat).reply(text="a", seed=1).turn.raw == own.turn.raw
    assert Conversation(system, max_new_tokens=70).max_new_tokens == 70


def test_the_setting_is_saved_grafted_and_checked(tmp_path: Path) -> None:
    system = mind(90)
    system.save(tmp_path / "one")
    assert System.load(tmp_path / "one").max_new_tokens == 90
    graft(str(tmp_path / "one"), {"format": f"{tmp_path / 'one'}#format"}, tmp_path / "two")
    assert System.load(tmp_path / "two").max_new_tokens == 90
    told = json.loads((tmp_path / "one" / "system.json").read_text())
    for bad in (0, "many", 1.5):
        (tmp_path / "one" / "system.json").write_text(json.dumps({**told, "max_new_tokens": bad}))
        with pytest.raises(WeightsError, match="whole number from 1 on"):
            System.load(tmp_path / "one")
    assert read_settings(tmp_path).max_new_tokens == MAX_NEW_TOKENS


def test_the_verbs_take_it(tiny: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = write_audio(tmp_path / "q.wav", tiny.say("is there a star").audio.wave[0].numpy(), 16_000)
    for words in (["say", "the red star is big."], ["reply", "--audio", str(asked)]):
        told = []
        for limit in ([], ["--max-new-tokens", "70"] if words[0] == "reply" else ["--max-new-tokens", "12"]):
            assert main([*words, *limit, "--out", str(tmp_path / "x.wav")]) == 0
            told.append(json.loads(capsys.readouterr().out))
        assert [each["truncated"] for each in told] == [False, True]
        assert told[0]["num_units"] > told[1]["num_units"] > 0
