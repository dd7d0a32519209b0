"""`format/json`."""

from __future__ import annotations

import json
import random
import string
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnikit.backbones.hf_causal import HFCausal
from omnikit.errors import OmnikitError, UnknownName
from omnikit.formats.json import JsonFormat
from omnikit.slots.backbone import Segment
from omnikit.types import SpokenTurn, Style, Units

LABELS = {"emotion": "sad", "pitch": "low", "speed": "slow", "gender": "male"}
SMALL = {"hidden": 16, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate": 16, "unit_rate": 25, "layout": "frame"}
BACKBONES = {books: HFCausal(**SMALL, codebooks=books, vocab_id="test") for books in ((16,), (8, 4))}
BACKBONE = BACKBONES[(16,)]


def units_of(backbone: HFCausal, *rows: tuple[int, ...]) -> Units:
    codes = torch.tensor([rows])
    return Units(codes, torch.tensor([codes.shape[-1]]), backbone.codebooks, Fraction(25), "test")


def turn_of(backbone: HFCausal = BACKBONE, **changes) -> SpokenTurn:
    units = units_of(backbone, *[(1, 3, 2) for _ in backbone.codebooks])
    given = {"text": 'the "red"\\ one…\n', "user_text": "what?", "style": Style(labels=(LABELS,)), "units": units}
    return SpokenTurn(**{**given, **changes})


def spell(segments: list[Segment], backbone: HFCausal = BACKBONE) -> str:
    """The text that a model writes when it writes these segments."""
    return "".join(item.text or (backbone.unit_text(item.units) if item.units else "") for item in segments)


def written(task: str, turn: SpokenTurn, backbone: HFCausal = BACKBONE, form: JsonFormat | None = None) -> str:
    return spell((form or JsonFormat()).target(task, turn, backbone), backbone)


@pytest.mark.parametrize("books", list(BACKBONES))
def test_a_reply_is_one_json_object_in_the_order_of_the_chain(books: tuple[int, ...]) -> None:
    backbone = BACKBONES[books]
    value = json.loads(written("dialogue", turn_of(backbone), backbone))
    assert list(value) == ["heard", "reply", "emotion", "pitch", "speed", "units"]
    assert value["reply"] == 'the "red"\\ one…\n' and value["units"] == backbone.unit_text([(1, 3, 2)] * len(books))


@pytest.mark.parametrize("books", list(BACKBONES))
@pytest.mark.parametrize("without", ["", "user_text", "style", "units"])
def test_what_is_written_is_read_back(books: tuple[int, ...], without: str) -> None:
    backbone = BACKBONES[books]
    empty = {"user_text": None, "style": Style(), "units": None}
    turn = turn_of(backbone, **({without: empty[without]} if without else {}))
    read = JsonFormat().parse("dialogue", written("dialogue", turn, backbone), backbone)
    assert read.parse_ok and read.text == turn.text and read.user_text == turn.user_text
    labels = {name: LABELS[name] for name in ("emotion", "pitch", "speed")}
    assert read.style.labels == (() if without == "style" else (labels,))
    if without == "units":
        assert read.units is None
    else:
        assert torch.equal(read.units.codes, turn.units.codes)
        assert (read.units.rate, read.units.vocab_id, read.units.sizes) == (25, "test", books)


@given(st.text(), st.text())
def test_any_text_is_read_back(heard: str, reply: str) -> None:
    turn = turn_of(user_text=heard, text=reply)
    read = JsonFormat().parse("dialogue", written("dialogue", turn), BACKBONE)
    assert read.parse_ok and read.text == reply and read.user_text == heard


def test_the_other_tasks_answer_in_plain_text_or_units() -> None:
    turn = turn_of(text="a red star")
    for task in ("caption", "asr"):
        assert written(task, turn) == "a red star"
        read = JsonFormat().parse(task, "a red star", BACKBONE)
        assert read.parse_ok and read.text == "a red star" and read.units is None
    read = JsonFormat().parse("tts", written("tts", turn), BACKBONE)
    assert read.parse_ok and torch.equal(read.units.codes, turn.units.codes)


def test_every_target_is_trained_and_closes_with_the_end() -> None:
    for task in JsonFormat.tasks:
        segments = JsonFormat().target(task, turn_of(), BACKBONE)
        assert all(segment.train for segment in segments)
        assert [segment.control for segment in segments].index("end") == len(segments) - 1


def test_a_prompt_marks_what_is_seen_and_heard_and_the_task() -> None:
    user = [Segment(frames=torch.zeros(2, 4)), Segment(units=((1, 2),)), Segment(text="hi")]
    shown = [item.control or "data" for item in JsonFormat().prompt("dialogue", user)]
    assert shown == [
        "start",
        "user",
        "image",
        "data",
        "/image",
        "speech",
        "data",
        "/speech",
        "data",
        "dialogue",
        "reply",
    ]
    assert not any(item.train for item in JsonFormat().prompt("dialogue", user))


def test_earlier_turns_come_first_and_keep_their_text_alone() -> None:
    past = [([Segment(text="first")], turn_of(text="one")), ([Segment(text="second")], turn_of(text="two"))]
    prompt = JsonFormat().prompt("dialogue", [Segment(text="third")], past)
    assert [item.text for item in prompt if item.text] == ["first", "one", "second", "two", "third"]
    assert [item.control for item in prompt].count("end") == 2 and not any(item.units for item in prompt)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"reply":1,"units":""}',
        '{"units":"<|speech_1|>"}',
        '{"reply":"a","emotion":"sad","units":"<|speech_1|>"}',
        '{"reply":"a","units":"<|speech_1|>","more":"x"}',
        '{"units":"<|speech_1|>","reply":"a"}',
        '{"reply":"a","units":"<|speech_99|>"}',
        '{"reply":"a","units":"<|speech_1|> <|speech_2|>"}',
        '{"reply":"a","units":""}',
        '{"reply":"a","units":"<|speech_1|>',
        "[" * 100_000,
    ],
)
def test_malformed_replies_are_marked(raw: str) -> None:
    assert not JsonFormat().parse("dialogue", raw, BACKBONE).parse_ok


def test_what_can_be_read_of_a_broken_reply_is_kept() -> None:
    whole = written("dialogue", turn_of(text="yes"))
    cut = JsonFormat().parse("dialogue", whole[: whole.index("<|speech_2")] + "<|spee", BACKBONE)
    assert cut.text == "yes" and cut.user_text == "what?" and dict(cut.style.labels[0])["emotion"] == "sad"
    assert cut.units.codes.tolist() == [[[1, 3]]]
    early = JsonFormat().parse("dialogue", whole[: whole.index('"emotion"')], BACKBONE)
    assert early.text == "yes" and early.units is None and early.style.labels == ()


def test_units_are_kept_up_to_the_first_that_cannot_be_read() -> None:
    good, bad = "".join(f"<|speech_{unit % 16}|>" for unit in range(9)), "<|speech_16|>"
    assert JsonFormat().parse("tts", good + bad + good, BACKBONE).units.codes.shape[-1] == 9
    assert JsonFormat().parse("tts", bad + good, BACKBONE).units is None
    two = BACKBONES[(8, 4)]
    odd = two.unit_text([(1, 2, 3), (0, 1, 2)]) + "<|speech_0_7|>"
    read = JsonFormat().parse("tts", odd, two)
    assert not read.parse_ok and read.units.codes.tolist() == [[[1, 2, 3], [0, 1, 2]]]


def test_no_output_of_a_model_raises() -> None:
    rng = random.Random(0)
    form = JsonFormat()
    letters = string.printable + 'é\x00\ud800{}"\\<|>'
    pieces = [
        "<|speech_1|>",
        "<|speech_0_1|>",
        "<|",
        '"',
        "\\",
        "\\u12",
        '{"reply":',
        "}",
        '"units":"',
        "\ud800",
        "1e999",
    ]
    for number in range(1000):
        backbone = BACKBONES[((16,), (8, 4))[number % 2]]
        raw = list(written("dialogue", turn_of(backbone), backbone))
        for _ in range(rng.randint(1, 8)):
            place = rng.randrange(len(raw) + 1)
            change = rng.randrange(4)
            if change == 0:
                del raw[place : place + rng.randint(1, 30)]
            elif change == 1:
                raw.insert(place, rng.choice(letters))
            elif change == 2:
                raw.insert(place, rng.choice(pieces))
            else:
                raw = raw[:place] + raw[place : place + 20] * 2 + raw[place + 20 :]
        text = "".join(raw)
        for task in form.tasks:
            read = form.parse(task, text, backbone)
            assert read.raw == text
            if read.units is not None:
                assert int(read.units.codes.max()) < max(backbone.codebooks) and read.units.codes.shape[-1] > 0


def test_targets_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(OmnikitError, match="units"):
        JsonFormat().target("tts", turn_of(units=None), BACKBONE)
    with pytest.raises(OmnikitError, match="lacks pitch"):
        JsonFormat().target("dialogue", turn_of(style=Style(labels=({"emotion": "sad"},))), BACKBONE)
    with pytest.raises(UnknownName, match="dialogue"):
        JsonFormat().prompt("dialog", [])


@pytest.mark.parametrize("factors", [["emotion", "emotion"], ["reply"]])
def test_factors_must_differ_from_each_other_and_from_the_keys(factors: list[str]) -> None:
    with pytest.raises(OmnikitError, match="must differ"):
        JsonFormat(factors=factors)
