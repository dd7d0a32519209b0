"""Scenes and questions: the picture shows what the scene says, answers are true, the reply style follows the rule."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from omnikit.data.prosody import FACTORS
from omnikit.data.questions import KINDS, SPEED_WORDINGS, question, reply_style
from omnikit.data.scenes import (
    CELLS,
    COLORS,
    HELD_OUT_PAIRS,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    describe,
    random_scene,
    render,
)
from omnikit.data.texts import check_text


def cell_pixels(pixels: np.ndarray, cell: str) -> np.ndarray:
    row, column = CELLS.index(cell) // 2, CELLS.index(cell) % 2
    return pixels[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32].reshape(-1, 3).astype(float)


@pytest.mark.parametrize(("shape", "color"), list(itertools.product(SHAPES, COLORS)))
def test_the_picture_shows_the_object(shape: str, color: str) -> None:
    areas = {}
    for size, cell in itertools.product(SIZES, CELLS):
        pixels = render(Scene((SceneObject(cell, shape, color, size),), seed=3))
        assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
        near = {place: np.abs(cell_pixels(pixels, place) - COLORS[color]).max(1) < 25 for place in CELLS}
        assert all((near[place].sum() > 0) == (place == cell) for place in CELLS), (size, cell)
        areas.setdefault(size, []).append(near[cell].sum())
    assert min(areas["big"]) > 2 * max(areas["small"])


def test_shapes_differ() -> None:
    scenes = [Scene((SceneObject("top left", shape, "white", "big"),), seed=1) for shape in SHAPES]
    masks = [cell_pixels(render(scene), "top left").min(1) > 210 for scene in scenes]
    for one, other in itertools.combinations(masks, 2):
        assert (one ^ other).sum() > 0.1 * (one | other).sum()


def test_rendering_is_a_function_of_the_scene() -> None:
    scene = random_scene(random.Random(1))
    np.testing.assert_array_equal(render(scene), render(scene))
    assert (render(scene) != render(Scene(scene.objects, scene.seed + 1))).any()


def test_held_out_pairs_stay_out() -> None:
    rng = random.Random(0)
    for _ in range(500):
        plain, special = random_scene(rng), random_scene(rng, held_out=True)
        assert not plain.has_held_out_pair
        assert special.has_held_out_pair
        assert len({item.cell for item in special.objects}) == len(special.objects) >= 1
        exchange, other = question(plain, rng), question(special, rng)
        for color, shape in HELD_OUT_PAIRS:
            texts = describe(plain, rng) + (exchange.question + exchange.answer if exchange else "")
            assert f"{color} {shape}" not in texts
        if other and other.kind == "color":
            assert any(color == other.value for color, _ in HELD_OUT_PAIRS)


def named_objects(scene: Scene, text: str, kind: str) -> list[SceneObject]:
    """The objects that the words of a question fit."""
    words = text.replace(",", "").replace("?", "").replace(".", "").split()
    return [
        item
        for item in scene.objects
        if item.shape in words
        and (item.color in words or not set(COLORS) & set(words))
        and (item.size in words or not set(SIZES) & set(words) or kind == "size")
    ]


def truth(scene: Scene, exchange_text: str, kind: str, value: str) -> bool:
    """Whether a short answer is true of the scene, found from the words of the question alone."""
    words = exchange_text.replace(",", "").replace("?", "").replace(".", "").split()
    named = named_objects(scene, exchange_text, kind)
    if kind in ("color", "size"):
        return [getattr(item, kind) for item in named] == [value]
    if kind == "where":
        return [item.cell for item in named] == [value]
    if kind == "exists":
        return ("yes" if named else "no") == value
    if kind == "content":
        cell = next(cell for cell in CELLS if cell in exchange_text)
        found = [item for item in scene.objects if item.cell == cell]
        return value == (f"{found[0].size} {found[0].color} {found[0].shape}" if found else "nothing")
    if kind == "count":
        colored = [color for color in COLORS if color in words]
        counted = [
            item for item in scene.objects if (item.color in colored if colored else f"{item.shape}" in " ".join(words))
        ]
        return str(len(counted)) == value
    sizes = {item.size for item in scene.objects}
    return value == "same" or sizes == {"small", "big"}


def test_answers_are_true_and_plain() -> None:
    rng = random.Random(2)
    kinds = []
    for _ in range(4000):
        scene = random_scene(rng, held_out=rng.random() < 0.2)
        exchange = question(scene, rng)
        if exchange is None:
            continue
        check_text(exchange.question)
        check_text(exchange.answer)
        assert truth(scene, exchange.question, exchange.kind, exchange.value), (scene, exchange)
        kinds.append(exchange.kind)
        if exchange.kind in ("color", "size", "where"):
            (item,) = named_objects(scene, exchange.question, exchange.kind)
            assert exchange.style["pitch"] == {"small": "high", "big": "low"}[item.size]
            emotions = {"red": "angry", "blue": "sad", "yellow": "happy"}
            assert exchange.style["emotion"] == emotions.get(item.color, "neutral")
    assert set(kinds) == set(KINDS)


def test_the_wording_of_the_answer_follows_from_picture_and_question() -> None:
    rng = random.Random(3)
    for _ in range(100):
        scene = random_scene(rng)
        answers: dict[str, set[tuple[str, str]]] = {}
        for _ in range(100):
            exchange = question(scene, rng)
            if exchange:
                answers.setdefault(exchange.question, set()).add((exchange.answer, str(exchange.style)))
        assert all(len(found) == 1 for found in answers.values())


def test_choices_are_all_answers_that_pictures_give_to_a_question() -> None:
    rng, given, listed = random.Random(6), {}, {}
    for _ in range(40_000):
        exchange = question(
            random_scene(rng), rng, rng.choice(("color", "size", "where", "exists", "count", "content"))
        )
        if exchange is not None and exchange.kind != "content":
            given.setdefault(exchange.question, set()).add(exchange.answer)
            assert listed.setdefault(exchange.question, exchange.choices) == exchange.choices
        elif exchange is not None:
            assert exchange.choices == ()
    assert all(answers <= set(listed[asked]) for asked, answers in given.items())
    whole = [asked for asked, answers in given.items() if answers == set(listed[asked])]
    assert len(whole) > 300


def test_a_comparison_has_a_winner_or_none() -> None:
    rng, given = random.Random(7), {}
    for _ in range(20_000):
        exchange = question(random_scene(rng), rng, "bigger")
        if exchange is not None:
            assert exchange.answer in exchange.choices and len(set(exchange.choices)) == len(exchange.choices) >= 3
            given.setdefault(exchange.choices, set()).add(exchange.answer)
    assert any(answers == set(choices) for choices, answers in given.items())


def test_reply_styles() -> None:
    assert reply_style("red", "small", "fast", False) == {"emotion": "angry", "speed": "fast", "pitch": "high"}
    assert reply_style("yellow", "big", "slow", False) == {"emotion": "happy", "speed": "slow", "pitch": "low"}
    assert reply_style("red", None, "normal", True) == {"emotion": "sad", "speed": "normal", "pitch": "normal"}
    assert reply_style("green", None, "normal", False)["emotion"] == "neutral"
    rng = random.Random(4)
    drawn = set()
    for _ in range(6000):
        exchange = question(random_scene(rng), rng)
        if exchange is None:
            continue
        drawn.add(tuple(exchange.style.values()))
        asked = [speed for speed, forms in SPEED_WORDINGS.items() for form in forms if matches(form, exchange.question)]
        assert exchange.style["speed"] in asked
        if exchange.value in ("no", "0", "nothing"):
            assert exchange.style["emotion"] == "sad"
    assert len(drawn) == len(FACTORS["emotion"]) * len(FACTORS["speed"]) * len(FACTORS["pitch"])


def matches(form: str, text: str) -> bool:
    before, after = form.split("{}")
    return text.startswith(before) and text.endswith(after)


def test_captions_name_every_object() -> None:
    rng = random.Random(5)
    for _ in range(300):
        scene = random_scene(rng)
        caption = describe(scene, rng)
        check_text(caption)
        for item in scene.objects:
            assert item.color in caption and item.shape in caption and item.cell in caption
