"""Samples that are drawn while a model learns."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace

import pytest
from PIL import Image

from omnikit.data.drawn_samples import DrawnPicture, DrawnStream, drawing
from omnikit.data.language_batches import LanguageSample, UserInput, read_batch
from omnikit.data.media import read_image, read_image_size
from omnikit.data.questions import question
from omnikit.data.scenes import HELD_OUT_PAIRS, random_scene, render
from omnikit.data.texts import split_of_text
from omnikit.errors import DataError, UnknownName

SEED = 1


def draws(kind: str, number: int, **more: object) -> list[LanguageSample]:
    draw, rng = drawing(kind, SEED, **more), random.Random(5)
    found = (draw(rng) for _ in range(10 * number))
    return [sample for sample in found if sample is not None][:number]


def spoken(text: str, answer: str, unit: int = 3) -> LanguageSample:
    return LanguageSample(
        "dialogue", UserInput(("old.png",), units=((1, 2),)), answer, heard=text, style={"speed": "slow"},
        units=((unit,),), heard_style={"gender": "male"}, history=((UserInput(text="before"), "so"),),
    )  # fmt: skip


def everything(number: int) -> list[LanguageSample]:
    """Recordings of very many questions and answers."""
    rng, found = random.Random(0), []
    while len(found) < number:
        asked = question(random_scene(rng), rng)
        if asked is not None:
            found.append(spoken(asked.question, asked.answer, unit=len(found)))
    return found


@pytest.mark.parametrize("kind", ["caption", "vqa"])
def test_texts_are_those_of_the_training_split_and_no_held_out_pair_is_shown(kind: str) -> None:
    samples = draws(kind, 200)
    texts = [text for sample in samples for text in (sample.text, sample.user.text) if text]
    assert {split_of_text(text, SEED) for text in texts} == {"train"}
    pictures = [image for sample in samples for image in sample.images]
    assert len(set(pictures)) == len(pictures) == 200
    assert not any(item.pair in HELD_OUT_PAIRS for picture in pictures for item in picture.scene.objects)


def test_a_written_question_has_its_answer_and_the_style_that_follows() -> None:
    (sample,) = draws("vqa", 1)
    scene = sample.images[0].scene
    asked = [exchange for seed in range(4000) if (exchange := question(scene, random.Random(seed))) is not None]
    same = [exchange for exchange in asked if exchange.question == sample.user.text]
    assert same and {exchange.answer for exchange in same} == {sample.text}
    assert all(exchange.style == sample.style for exchange in same)
    assert (sample.task, sample.heard, sample.units) == ("dialogue", None, None)


def test_a_dialogue_joins_recordings_that_fit_the_new_picture() -> None:
    recorded = everything(3000)
    questions = {sample.heard for sample in recorded}
    units = {}
    for sample in recorded:
        units.setdefault(sample.text, set()).add(sample.units)
    samples = draws("dialogue", 100, recorded=recorded)
    fresh = [sample for sample in samples if any(isinstance(image, DrawnPicture) for image in sample.images)]
    assert len(fresh) > 60 and all(sample in recorded for sample in samples if sample not in fresh)
    paired = {(sample.heard, sample.text) for sample in recorded}
    for sample in fresh:
        assert sample.heard in questions and sample.units in units[sample.text] and len(sample.images) == 1
        assert sample.user.units == ((1, 2),) and sample.heard_style == {"gender": "male"}
        assert sample.style.keys() == {"emotion", "speed", "pitch"}
    assert any((sample.heard, sample.text) not in paired for sample in fresh)
    later = [sample for sample in fresh if sample.history]
    assert 0 < len(later) < len(fresh) / 2
    for sample in later:
        ((before, said),) = sample.history
        assert before.images == tuple(sample.images) and sample.user.images == () and said in units


@pytest.mark.parametrize("kind", ["vqa", "dialogue"])
def test_a_question_does_not_tell_its_answer_by_what_is_kept_for_tests(kind: str) -> None:
    recorded = {"recorded": everything(3000)} if kind == "dialogue" else {}
    samples = draws(kind, 150, **recorded)
    fresh = [sample for sample in samples if any(isinstance(image, DrawnPicture) for image in sample.images)]
    asked = {sample.heard or sample.user.text for sample in fresh}
    rng, choices = random.Random(1), {}
    while len(choices) < 0.5 * len(asked):
        exchange = question(random_scene(rng), rng)
        if exchange is not None and exchange.question in asked:
            choices[exchange.question] = exchange.choices
    several = {text: answers for text, answers in choices.items() if answers}
    assert several and {split_of_text(text, SEED) for answers in several.values() for text in answers} == {"train"}


def test_a_typed_question_stays_typed() -> None:
    typed = [
        replace(sample, heard=None, user=UserInput(("old.png",), text=sample.heard), heard_style={})
        for sample in everything(1500)
    ]
    sample = draws("dialogue", 1, recorded=typed)[0]
    assert sample.user.text and sample.user.units is None and sample.heard is None and sample.units is not None


def test_a_sample_is_a_function_of_seed_and_number_and_a_stream_goes_on_where_it_stood() -> None:
    def stream() -> DrawnStream:
        return DrawnStream(drawing("vqa", SEED), lambda sample: len(sample.text), seed=(3, 0), limit=40)

    whole, later = stream(), stream()
    seen = []
    for _ in range(6):
        assert whole.peek() is whole.peek() and whole.peek().tokens <= 40
        seen.append(whole.peek().sample)
        state = whole.state()
        whole.advance()
    later.restore(state)
    assert later.peek().sample == seen[-1] and len({sample.images[0] for sample in seen}) == 6
    assert whole.skipped() == []


def test_a_dialogue_that_fits_no_new_picture_is_repeated_as_it_is() -> None:
    (own,) = recorded = [spoken("who?", "me.")]
    assert draws("dialogue", 1, recorded=recorded) == [own]


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(DataError, match="recorded answers"):
        DrawnStream(drawing("dialogue", SEED), lambda sample: 1, seed=(0,), limit=9).peek()
    with pytest.raises(DataError, match="into 0 positions"):
        DrawnStream(drawing("caption", SEED), lambda sample: 1, seed=(0,), limit=0).peek()
    with pytest.raises(UnknownName, match="vqa"):
        drawing("vqaa", SEED)


def test_a_drawn_picture_is_read_like_a_file(tmp_path) -> None:
    scene = random_scene(random.Random(4))
    picture = DrawnPicture(scene)
    Image.fromarray(render(scene)).save(tmp_path / "a.png")
    assert read_image(picture).tobytes() == read_image(tmp_path / "a.png").tobytes()
    assert read_image_size(picture) == (64, 64)
    again = pickle.loads(pickle.dumps(picture))
    assert again == picture and again.data == picture.data
    sample = LanguageSample("caption", UserInput((picture,)), "x")
    batch = read_batch(tmp_path, [sample, sample], 32)
    assert batch.paths == (picture,) and batch.images.pixels.shape == (1, 3, 32, 32)
