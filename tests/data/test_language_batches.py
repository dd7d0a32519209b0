"""Samples of the language stages, and their mixture."""

from __future__ import annotations

import collections

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
    star = UserInput(image="images/a.png")
    assert found["caption"] == [LanguageSample("caption", star, "a red star")]
    assert found["asr"][0] == LanguageSample("asr", UserInput(units=((0, 1),)), "hello there")
    assert found["tts"][0] == LanguageSample("tts", UserInput(text="good day"), "good day", units=((1, 2),))
    heard = ["hello there", "good day", "good day", "what is it", "a star", "what color", "red"]
    assert [sample.text for sample in found["asr"]] == heard
    assert [sample.user.units for sample in found["asr"][1:3]] == [((1, 2),), ((6, 7),)]
    assert [sample.units for sample in found["tts"]] == [((1, 2),), ((3, 4),), ((5, 6),)]
    first, second = found["dialogue"]
    asked = UserInput("images/a.png", units=((2, 3),))
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
    assert first.user == UserInput("images/a.png", text="what is it") and first.heard is None
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


def texts(number: int) -> list[LanguageSample]:
    return [
        LanguageSample("tts", UserInput(text="x"), f"{row}", units=((0,) * (1 + row % 17),)) for row in range(number)
    ]


def length(sample: LanguageSample) -> int:
    return len(sample.units[0])


def batches(samples: dict, weights: dict, **changes) -> LanguageBatches:
    settings = {"batch_tokens": 120, "image_size": 16, "num_batches": 9, "seed": 3, **changes}
    return LanguageBatches(".", samples, weights, length, **settings)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    samples = {"tts": texts(60), "asr": texts(40)}
    whole = batches(samples, {"tts": 2.0, "asr": 1.0})
    resumed = batches(samples, {"tts": 2.0, "asr": 1.0}, start=4)
    assert len(whole) == 9
    assert [whole[index].samples for index in (6, 4, 5)] == [resumed[index].samples for index in (2, 0, 1)]
    assert whole[0].samples != batches(samples, {"tts": 2.0, "asr": 1.0}, seed=4)[0].samples


def test_every_task_gets_its_share_of_the_positions() -> None:
    samples = {
        "tts": texts(170),
        "asr": [LanguageSample("asr", row.user, row.text, units=row.units) for row in texts(170)],
    }
    mixture = batches({**samples, "caption": texts(3)}, {"tts": 3.0, "asr": 1.0, "caption": 0.0}, batch_tokens=600)
    padded: collections.Counter[str] = collections.Counter()
    for batch in (mixture[index] for index in range(9)):
        for task in ("tts", "asr"):
            lengths = [length(sample) for sample in batch.samples if sample.task == task]
            assert len(lengths) * max(lengths) <= 600 * {"tts": 0.75, "asr": 0.25}[task]
            padded[task] += len(lengths) * max(lengths)
    assert 2.5 < padded["tts"] / padded["asr"] < 3.5


def test_one_pass_holds_every_sample_once() -> None:
    mixture = batches({"tts": texts(50)}, {"tts": 1.0}, num_batches=40)
    seen: list[str] = []
    for index in range(40):
        if len(seen) == 50:
            break
        seen += [sample.text for sample in mixture[index].samples]
    assert sorted(seen, key=int) == [str(row) for row in range(50)]


@pytest.mark.parametrize("weights", [{"asr": 1.0}, {"tts": 1.0, "caption": 1.0}, {"tts": 0.0}, {}])
def test_a_mixture_without_samples_is_refused(weights: dict) -> None:
    with pytest.raises(DataError, match="tts 50, caption 0"):
        batches({"tts": texts(50), "caption": []}, weights)


def test_every_picture_is_read_once(tmp_path) -> None:
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (32, 32), (0, 0, 255)).save(tmp_path / "blue.png")
    red, blue = UserInput(image="red.png"), UserInput(image="blue.png")
    chosen = [
        LanguageSample("dialogue", UserInput(text="x"), "a", history=((red, "b"),)),
        LanguageSample("caption", blue, "c"),
        LanguageSample("caption", red, "d"),
    ]
    batch = read_batch(tmp_path, chosen, 16)
    assert batch.paths == ("red.png", "blue.png") and batch.pixels.shape == (2, 3, 16, 16)
    assert batch.pixels[0, :, 3, 3].tolist() == [1, 0, 0] and batch.pixels[1, :, 3, 3].tolist() == [0, 0, 1]
    assert read_batch(tmp_path, [LanguageSample("asr", UserInput(), "x")], 16).pixels.shape == (0, 3, 16, 16)
