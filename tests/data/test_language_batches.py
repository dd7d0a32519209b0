"""Samples of the language stages, and their mixture."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnikit.data.language_batches import (
    LanguageBatches,
    LanguageSample,
    UserInput,
    language_samples,
    read_batch,
)
from omnikit.data.packing import Mixture, Shuffled
from omnikit.data.shares import Share
from omnikit.errors import DataError, UnknownName


def sound(path: str) -> dict:
    return {"path": path, "sample_rate": 16_000, "duration_s": 1.0}


SAD = {"gender": "male", "emotion": "sad", "speed": "normal", "pitch": "low"}
PICTURE = {"path": "images/a.png"}
RECORDS = [
    {"id": "speech.1", "messages": [{"role": "user", "text": "hello there", "audio": sound("s.flac")}]},
    {
        "id": "voice.1",
        "messages": [
            {
                "role": "assistant",
                "text": "good day",
                "audio": sound("c.flac"),
                "style": SAD,
                "rendering": {"audio": sound("r.flac"), "style": SAD},
            }
        ],
    },
    {
        "id": "caption.1",
        "messages": [{"role": "user", "image": PICTURE}, {"role": "assistant", "text": "a red star"}],
    },
    {
        "id": "dialogue.1",
        "messages": [
            {"role": "user", "image": PICTURE, "text": "what is it", "audio": sound("q0.flac")},
            {"role": "assistant", "text": "a star", "audio": sound("a0.flac"), "style": SAD},
            {"role": "user", "text": "what color", "audio": sound("q1.flac")},
            {"role": "assistant", "text": "red", "audio": sound("a1.flac"), "style": SAD},
        ],
    },
]
STORE = {
    f"{name}.flac": np.array([[number, number + 1]])
    for number, name in enumerate(("s", "c", "q0", "a0", "q1", "a1", "r"))
}
ALL = ("caption", "asr", "tts", "dialogue")


def test_records_become_samples_of_every_task() -> None:
    found = language_samples(RECORDS, ALL, STORE)
    star = UserInput(("images/a.png",))
    assert found["caption"] == [LanguageSample("caption", star, "a red star")]
    assert found["asr"][0] == LanguageSample("asr", UserInput(units=((0, 1),)), "hello there")
    assert found["tts"][0] == LanguageSample("tts", UserInput(text="good day"), "good day", units=((1, 2),))
    heard = ["hello there", "good day", "good day", "what is it", "a star", "what color", "red"]
    assert [sample.text for sample in found["asr"]] == heard
    assert [sample.user.units for sample in found["asr"][1:3]] == [((1, 2),), ((6, 7),)]
    assert [sample.units for sample in found["tts"]] == [((1, 2),), ((3, 4),), ((5, 6),)]
    first, second = found["dialogue"]
    asked = UserInput(("images/a.png",), units=((2, 3),))
    assert first == LanguageSample("dialogue", asked, "a star", heard="what is it", style=SAD, units=((3, 4),))
    assert second.history == ((asked, "a star"),) and second.heard == "what color"
    assert second.images == ["images/a.png"]


def test_alignment_never_pairs_a_picture_with_speech() -> None:
    found = language_samples(RECORDS, ALL[:3], STORE)
    samples = [sample for rows in found.values() for sample in rows]
    assert len(samples) == 11
    assert not [sample for sample in samples if sample.images and (sample.user.units or sample.units)]


def test_typed_questions_are_not_heard() -> None:
    first, second = language_samples(RECORDS, ["dialogue"], STORE, typed_share=1.0)["dialogue"]
    assert first.user == UserInput(("images/a.png",), text="what is it") and first.heard is None
    assert first.units == ((3, 4),) and second.history[0][0] == first.user
    many = [{**RECORDS[3], "id": f"dialogue.{number}"} for number in range(400)]
    typed = [item.heard is None for item in language_samples(many, ["dialogue"], STORE, typed_share=0.25)["dialogue"]]
    assert typed == [
        item.heard is None for item in language_samples(many, ["dialogue"], STORE, typed_share=0.25)["dialogue"]
    ]
    assert 0.15 < sum(typed) / len(typed) < 0.35


def test_units_that_a_message_brings_go_before_the_store() -> None:
    record = {"id": "x", "messages": [{"role": "user", "text": "hi", "units": [7, 8]}]}
    assert language_samples([record], ["asr"], {})["asr"][0].user.units == ((7, 8),)


def test_an_unknown_task_names_the_known() -> None:
    with pytest.raises(UnknownName, match="dialogue"):
        language_samples(RECORDS, ["dialog"], STORE)


def texts(task: str, number: int) -> list[LanguageSample]:
    return [
        LanguageSample(task, UserInput(text="x"), f"{row}", units=((0,) * (1 + row % 17),)) for row in range(number)
    ]


def length(sample: LanguageSample) -> int:
    return len(sample.units[0])


def batches(weights: dict[str, float], batch_tokens: int = 120, seed: int = 3, **changes) -> LanguageBatches:
    streams = {}
    for number, name in enumerate(weights):
        rows = texts(name, 60)
        streams[name] = Shuffled(rows, [length(row) for row in rows], seed=(seed, number), limit=batch_tokens)
    settings = {"image_size": 16, "num_batches": 9, **changes}
    return LanguageBatches(Path(), Mixture(streams, weights, batch_tokens), **settings)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    weights = {"tts": 2.0, "asr": 1.0}
    whole, resumed = batches(weights), batches(weights, start=4)
    assert len(whole) == 9
    assert [whole[index].samples for index in (6, 4, 5)] == [resumed[index].samples for index in (2, 0, 1)]
    assert whole[0].samples != batches(weights, seed=4)[0].samples


def test_every_source_gets_its_share_of_the_tokens() -> None:
    mixture = batches({"tts": 3.0, "asr": 1.0}, batch_tokens=600)
    tokens: collections.Counter[str] = collections.Counter()
    for index in range(9):
        batch = mixture[index]
        assert 583 < sum(map(length, batch.samples)) <= 600
        assert sorted(count for _, count in batch.drawn) == sorted(map(length, batch.samples))
        for source, count in batch.drawn:
            tokens[source] += count
    assert abs(tokens["tts"] / tokens.total() - 0.75) < 17 / tokens.total()


def test_processes_share_the_samples_of_a_batch() -> None:
    whole, one, two = (batches({"tts": 3.0, "asr": 1.0}) for _ in range(3))
    one.share, two.share = Share(0, 2), Share(1, 2)
    for index in range(3):
        rows = [row for part in (one[index], two[index]) for row in part.samples]
        assert sorted(map(repr, rows)) == sorted(map(repr, whole[index].samples))
        tokens = [sum(map(length, part.samples)) for part in (one[index], two[index])]
        assert abs(tokens[0] - tokens[1]) <= 17
        assert one[index].drawn == whole[index].drawn and one[index].counts


def test_a_share_without_a_row_stands_in_and_does_not_count() -> None:
    short = batches({"tts": 1.0}, batch_tokens=17)
    short.share = Share(30, 31)
    assert len(short[0].samples) == 1 and not short[0].counts


def test_a_broken_picture_costs_its_samples_and_no_others(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    chosen = [
        LanguageSample("caption", UserInput(("red.png",)), "a"),
        LanguageSample("caption", UserInput(("red.png", "broken.png")), "b"),
    ]
    batch = read_batch(tmp_path, chosen, 16)
    assert [sample.text for sample in batch.samples] == ["a"] and batch.paths == ("red.png",)
    assert [(told.name, "no known format" in told.reason) for told in batch.skipped] == [("broken.png", True)]
    with pytest.raises(DataError, match="No sample of a batch can be used"):
        read_batch(tmp_path, chosen[1:], 16)


def test_several_pictures_of_a_turn_stand_in_order() -> None:
    shown = [{"path": "b.png"}, {"path": "a.png"}]
    asked = {"role": "user", "images": shown, "text": "which is bigger"}
    record = {"id": "x", "messages": [asked, {"role": "assistant", "text": "the star"}]}
    (sample,) = language_samples([record], ["dialogue"], {})["dialogue"]
    assert sample.images == ["b.png", "a.png"] and sample.user.text == "which is bigger"


def test_units_of_several_codebooks_come_with_a_message() -> None:
    record = {"id": "x", "messages": [{"role": "user", "text": "hi", "units": [[7, 8], [1, 2]]}]}
    assert language_samples([record], ["asr"], {})["asr"][0].user.units == ((7, 8), (1, 2))


def test_every_picture_is_read_once(tmp_path) -> None:
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (32, 32), (0, 0, 255)).save(tmp_path / "blue.png")
    red, blue = UserInput(("red.png",)), UserInput(("blue.png",))
    chosen = [
        LanguageSample("dialogue", UserInput(text="x"), "a", history=((red, "b"),)),
        LanguageSample("caption", blue, "c"),
        LanguageSample("caption", red, "d"),
    ]
    batch = read_batch(tmp_path, chosen, 16)
    assert batch.paths == ("red.png", "blue.png") and batch.images.pixels.shape == (2, 3, 16, 16)
    assert batch.images.pixels[0, :, 3, 3].tolist() == [1, 0, 0] and batch.images.pixels[1, :, 3, 3].tolist() == [
        0,
        0,
        1,
    ]
    assert read_batch(tmp_path, [LanguageSample("asr", UserInput(), "x")], 16).images.pixels.shape == (0, 3, 16, 16)
