"""Replies in pieces and in turns: what is streamed is what is said at once, and a memory changes no answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import omnikit
from omnikit.conversation import Conversation, Piece
from omnikit.data.corpus import make_corpus
from omnikit.errors import OmnikitError
from omnikit.system import System


@pytest.fixture(scope="module")
def tiny() -> System:
    return omnikit.load("tiny")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    corpus = tmp_path_factory.mktemp("corpus") / "one"
    make_corpus(corpus, hours=0.005, seed=1, processes=1)
    user = json.loads((corpus / "dialogue.test.jsonl").read_text().splitlines()[0])["messages"][0]
    return {"image": corpus / user["image"]["path"], "audio": corpus / user["audio"]["path"]}


@pytest.fixture(scope="module")
def next_question(asked: dict[str, Path]) -> Path:
    corpus = asked["audio"]
    while not (corpus / "dialogue.test.jsonl").is_file():
        corpus = corpus.parent
    records = [json.loads(line) for line in (corpus / "dialogue.test.jsonl").read_text().splitlines()]
    return next(
        corpus / record["messages"][0]["audio"]["path"]
        for record in records
        if record["messages"][0]["text"] != records[0]["messages"][0]["text"]
    )


def test_what_is_streamed_is_what_is_said_at_once(tiny: System, asked: dict[str, Path]) -> None:
    whole = tiny.reply(**asked, style={"gender": "female"}, seed=2)
    pieces = list(tiny.stream_reply(**asked, style={"gender": "female"}, seed=2))
    *some, last = pieces
    assert last.reply is not None and all(piece.reply is None for piece in some)
    assert "".join(piece.text for piece in some) == whole.turn.text == last.reply.turn.text
    assert last.reply.turn.raw == whole.turn.raw
    assert torch.equal(last.reply.turn.units.codes, whole.turn.units.codes)
    assert last.reply.decided_by == whole.decided_by
    assert dict(last.reply.turn.style.labels[0]) == dict(whole.turn.style.labels[0])
    sound = torch.cat([piece.audio.wave for piece in some if piece.audio is not None], 1)
    assert torch.equal(sound, last.reply.audio.wave)
    again = [piece.audio for piece in tiny.stream_reply(**asked, style={"gender": "female"}, seed=2) if piece.audio]
    assert torch.equal(sound, torch.cat([piece.wave for piece in again], 1))


def test_sound_comes_while_units_are_still_written(
    tiny: System, asked: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    stream = type(tiny.part("backbone")).stream

    def noted(self, prompt, **how):
        for piece in stream(self, prompt, **how):
            written.append(piece)
            yield piece

    monkeypatch.setattr(type(tiny.part("backbone")), "stream", noted)
    pieces = tiny.stream_reply(**asked)
    first = next(piece for piece in pieces if piece.audio is not None)
    so_far = len(written)
    assert first.audio.wave.numel() > 0
    list(pieces)
    assert so_far < len(written)


def test_turns_are_answered_as_without_a_memory_and_read_once(tiny: System, asked: dict[str, Path]) -> None:
    talk = Conversation(tiny)
    first = talk.reply(**asked)
    assert talk.memory.reused == 0
    for question in ("how many things are there?", "what color is the circle?"):
        history = list(talk.turns)
        earlier = tiny.part("format").prompt("dialogue", history[-1][0], history[:-1])
        before = tiny.part("backbone").count_tokens(earlier)
        later = talk.reply(text=question)
        assert later.turn.raw == tiny.reply(text=question, history=history).turn.raw
        assert talk.memory.reused >= before > 0
    assert len(talk.turns) == 3 and talk.turns[0][1].text == first.turn.text


def test_spoken_turns_are_answered_aloud_as_without_a_memory_at_once_and_in_pieces(
    tiny: System, asked: dict[str, Path], next_question: Path
) -> None:
    talk, heard = Conversation(tiny), Conversation(tiny)
    questions = [asked, {"audio": next_question}]
    for turn, question in enumerate(questions):
        history = list(talk.turns)
        fresh = tiny.reply(**question, history=history, seed=turn)
        kept = talk.reply(**question, seed=turn)
        *pieces, last = heard.stream(**question, seed=turn)
        for reply in (kept, last.reply):
            assert reply.turn.raw == fresh.turn.raw and reply.decided_by == fresh.decided_by
            assert torch.equal(reply.turn.units.codes, fresh.turn.units.codes)
        assert "".join(piece.text for piece in pieces) == fresh.turn.text
        sound = torch.cat([piece.audio.wave for piece in pieces if piece.audio is not None], 1)
        assert torch.equal(sound, kept.audio.wave)
        assert any(segment.units for segment in talk.turns[turn][0]), "the question was not read as units"
        if turn:
            earlier = tiny.part("format").prompt("dialogue", history[-1][0], history[:-1])
            before = tiny.part("backbone").count_tokens(earlier)
            assert talk.memory.reused == heard.memory.reused >= before > 0
            assert fresh.turn.raw != tiny.reply(**question, seed=turn).turn.raw, "the first turn is not read"


def test_what_is_read_before_a_question_is_not_read_again_and_changes_no_answer(tiny: System) -> None:
    plain, prepared = Conversation(tiny), Conversation(tiny)
    for text in ("what color is the star", "and how big is it"):
        prepared.prepare()
        one, other = plain.reply(text=text), prepared.reply(text=text)
        assert one.turn.raw == other.turn.raw
        assert prepared.memory.reused >= plain.memory.reused + 1


def test_a_batch_of_prompts_is_answered_like_singles(tiny: System) -> None:
    from omnikit.slots.backbone import Segment

    form, backbone = tiny.part("format"), tiny.part("backbone")
    prompts = [form.prompt("dialogue", [Segment(text=text)]) for text in ("is there a star?", "how big is it, please?")]
    together = backbone.generate(prompts, generator=torch.Generator(), max_new_tokens=60)
    for prompt, answer in zip(prompts, together, strict=True):
        assert "".join(backbone.stream(prompt, generator=torch.Generator(), max_new_tokens=60)) == answer.text


def test_a_system_without_a_voice_answers_in_words(tiny: System) -> None:
    mute = System(tiny.plan, {slot: part for slot, part in tiny.parts.items() if slot != "detokenizer"})
    pieces = list(mute.stream_reply(text="is there a star?"))
    assert "".join(piece.text for piece in pieces) == pieces[-1].reply.turn.text
    assert pieces[-1].reply.audio is None and mute.reply(text="is there a star?").audio is None


def test_nothing_asked_is_refused_before_anything_is_read(tiny: System) -> None:
    talk = Conversation(tiny)
    with pytest.raises(OmnikitError, match="needs a question"):
        list(talk.stream())
    assert not talk.turns and Piece() == Piece(text="", audio=None, reply=None)
