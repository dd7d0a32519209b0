"""Questions about drawn scenes, their answers, and the rule by which the style of the answer follows from both.

Style of a reply, from the picture and the question:
- emotion: the color of the object asked about (red → angry, blue → sad, yellow → happy, else neutral);
  an answer that denies ("no …", "nothing …") is sad;
- pitch: the size of that object (small → high, big → low); normal when there is no single object;
- speed: the wording of the question ("quickly" … → fast, "take your time" … → slow, else normal).
The gender of the replying voice is the user's choice and no part of the rule.
The wording of the answer follows from that of the question, so the reply is a function of picture and question.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from omnikit.data.scenes import (
    CELLS,
    COLORS,
    HELD_OUT_PAIRS,
    NUMBER_WORDS,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    article,
    name_of,
    random_pair,
)
from omnikit.data.texts import plural

COLOR_EMOTIONS: dict[str, str] = {"red": "angry", "blue": "sad", "yellow": "happy"}
SIZE_PITCHES: dict[str, str] = {"small": "high", "big": "low"}
SPEED_WORDINGS: dict[str, tuple[str, ...]] = {
    "normal": ("{}?", "please, {}?", "tell me, {}?", "look, {}?", "now, {}?"),
    "fast": ("quickly, {}?", "please hurry, {}?", "{}? be quick.", "in a hurry, {}?"),
    "slow": ("slowly, {}?", "take your time, {}?", "{}? no rush.", "without haste, {}?"),
}


@dataclass(frozen=True)
class Exchange:
    """A question with its answer: texts, the reply's style labels, the kind of question and its short answer.

    `choices` are all answers that some picture gives to this question; none where they are too many to list (content).
    """

    question: str
    answer: str
    style: dict[str, str]
    kind: str
    value: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Draft:
    question: str
    answer: str
    value: str
    color: str | None
    size: str | None
    denies: bool = False
    choices: tuple[str, ...] = ()


def reply_style(color: str | None, size: str | None, speed: str, denies: bool) -> dict[str, str]:
    """The rule: style labels of a reply from the color and size of the object asked about and the asked speed."""
    emotion = "sad" if denies else COLOR_EMOTIONS.get(color or "", "neutral")
    return {"emotion": emotion, "speed": speed, "pitch": SIZE_PITCHES.get(size or "", "normal")}


def _unique_name(scene: Scene, item: SceneObject, hidden: str, rng: random.Random) -> str | None:
    """A name of `item` that no other object shares and that does not give `hidden` (an attribute) away."""
    choices = [("shape",), ("size", "shape"), ("color", "shape"), ("size", "color", "shape")]
    rng.shuffle(choices)
    for attributes in choices:
        if hidden in attributes:
            continue
        words = tuple(getattr(item, attribute) for attribute in attributes)
        same = sum(tuple(getattr(other, attribute) for attribute in attributes) == words for other in scene.objects)
        if same == 1:
            return " ".join(words)
    return None


def _color(scene: Scene, item: SceneObject, rng: random.Random, _: bool) -> _Draft | None:
    name = _unique_name(scene, item, "color", rng)
    if name is None:
        return None
    question, answer = rng.choice(
        (
            (f"what color is the {name}", f"the {name} is {{}}."),
            (f"what is the color of the {name}", f"it is {{}}, the {name}."),
            (f"which color does the {name} have", f"{{}} is the color of the {name}."),
            (f"do you know the color of the {name}", f"yes, the {name} looks {{}}."),
        )
    )
    choices = tuple(answer.format(color) for color in COLORS)
    return _Draft(question, answer.format(item.color), item.color, item.color, item.size, choices=choices)


def _size(scene: Scene, item: SceneObject, rng: random.Random, _: bool) -> _Draft | None:
    name = _unique_name(scene, item, "size", rng)
    if name is None:
        return None
    question, answer = rng.choice(
        (
            (f"is the {name} big or small", f"the {name} is {{}}."),
            (f"how big is the {name}", f"it is a {{}} {name}."),
            (f"what size is the {name}", f"{{}} is the size of the {name}."),
        )
    )
    choices = tuple(answer.format(size) for size in SIZES)
    return _Draft(question, answer.format(item.size), item.size, item.color, item.size, choices=choices)


def _content(scene: Scene, item: SceneObject, rng: random.Random, special: bool) -> _Draft:
    cells = {thing.cell: thing for thing in scene.objects}
    cell = item.cell if special else rng.choice(CELLS)
    form = rng.randrange(4)
    question = (
        f"what is in the {cell}",
        f"what do you see in the {cell}",
        f"which thing is at the {cell}",
        f"what does the {cell} show",
    )[form]
    if cell not in cells:
        answer = (
            f"nothing is in the {cell}.",
            f"i see nothing in the {cell}.",
            f"there is nothing at the {cell}.",
            f"the {cell} is empty, it shows nothing.",
        )[form]
        return _Draft(question, answer, "nothing", None, None, denies=True)
    found = cells[cell]
    thing = article(name_of(found))
    answer = (
        f"{thing} is in the {cell}.",
        f"i see {thing} in the {cell}.",
        f"there is {thing} at the {cell}.",
        f"the {cell} shows {thing}.",
    )[form]
    return _Draft(question, answer, name_of(found), found.color, found.size)


def _where(scene: Scene, item: SceneObject, rng: random.Random, _: bool) -> _Draft | None:
    name = _unique_name(scene, item, "cell", rng)
    if name is None:
        return None
    question, answer = rng.choice(
        (
            (f"where is the {name}", f"the {name} is in the {{}}."),
            (f"where do you see the {name}", f"i see the {name} in the {{}}."),
            (f"in which corner is the {name}", f"it is the {{}} corner for the {name}."),
            (f"can you find the {name}", f"yes, in the {{}} is the {name}."),
        )
    )
    choices = tuple(answer.format(cell) for cell in CELLS)
    return _Draft(question, answer.format(item.cell), item.cell, item.color, item.size, choices=choices)


def _exists(scene: Scene, item: SceneObject, rng: random.Random, special: bool) -> _Draft:
    color, shape = item.pair if special or rng.random() < 0.5 else random_pair(rng)
    found = [thing for thing in scene.objects if thing.pair == (color, shape)]
    form = rng.randrange(3)
    thing = article(f"{color} {shape}")
    question = (f"is there {thing}", f"do you see {thing}", f"does the picture show {thing}")[form]
    no = (f"no, there is no {color} {shape}.", f"no, i do not see {thing}.", f"no, it does not show {thing}.")[form]
    yes = (f"yes, there is {thing}.", f"yes, i see {thing}.", f"yes, the picture shows {thing}.")[form]
    if not found:
        return _Draft(question, no, "no", None, None, denies=True, choices=(no, yes))
    size = found[0].size if len({thing.size for thing in found}) == 1 else None
    return _Draft(question, yes, "yes", color, size, choices=(no, yes))


def _count(scene: Scene, item: SceneObject, rng: random.Random, _: bool) -> _Draft:
    by_color = rng.random() < 0.5
    absent = rng.random() < 0.25
    if by_color:
        word = rng.choice(tuple(COLORS)) if absent else item.color
        number = sum(thing.color == word for thing in scene.objects)
        many, single = f"{word} things", f"{word} thing"
    else:
        word = rng.choice(SHAPES) if absent else item.shape
        number = sum(thing.shape == word for thing in scene.objects)
        many, single = plural(word), word
    question, answer = rng.choice(
        (
            (f"how many {many} are there", "there {verb} {counted}."),
            (f"how many {many} do you see", "i see {counted}."),
            (f"how many {many} does the picture show", "the picture shows {counted}."),
            (f"can you count the {many}", "i count {counted}."),
            (f"what is the number of {many} here", "{counted} {verb} here."),
        )
    )
    choices = tuple(
        answer.format(counted=f"{name} {single if count == 1 else many}", verb="is" if count == 1 else "are")
        for count, name in enumerate(NUMBER_WORDS)
    )
    color = word if by_color else None
    return _Draft(question, choices[number], str(number), color, None, denies=number == 0, choices=choices)


def _bigger(scene: Scene, item: SceneObject, rng: random.Random, _: bool) -> _Draft | None:
    others = [thing for thing in scene.objects if thing is not item]
    if not others:
        return None
    other = rng.choice(others)
    first, second = _unique_name(scene, item, "size", rng), _unique_name(scene, other, "size", rng)
    if first is None or second is None:
        return None
    form = rng.randrange(3)
    question = (
        f"which is bigger, the {first} or the {second}",
        f"is the {first} or the {second} bigger",
        f"what is larger, the {first} or the {second}",
    )[form]
    same = (
        (f"the {first} is as big as the {second}.",),
        tuple(f"both are {size}, the {first} and the {second}." for size in SIZES),
        (f"the {first} and the {second} are the same.",),
    )[form]
    wins = ("the {} is bigger than the {}.", "bigger than the {1} is the {0}.", "the {} is larger than the {}.")[form]
    choices = (wins.format(first, second), wins.format(second, first), *same)
    if item.size == other.size:
        return _Draft(question, same[SIZES.index(item.size) % len(same)], "same", None, None, choices=choices)
    winner, name = (item, first) if item.size == "big" else (other, second)
    return _Draft(question, choices[winner is other], name, winner.color, winner.size, choices=choices)


_KINDS: dict[str, Callable[[Scene, SceneObject, random.Random, bool], _Draft | None]] = {
    "color": _color,
    "size": _size,
    "content": _content,
    "where": _where,
    "exists": _exists,
    "count": _count,
    "bigger": _bigger,
}
KINDS: tuple[str, ...] = tuple(_KINDS)


def question(scene: Scene, rng: random.Random, kind: str | None = None) -> Exchange | None:
    """A question about `scene` with its answer and the reply's style; of a random kind unless `kind` names one.

    When the scene holds an object of a held-out pair, the question is about that object. None when the scene gives no
    question of that kind (an object that cannot be told apart, nothing to compare with).
    """
    kind = kind or rng.choice(KINDS)
    special = [thing for thing in scene.objects if thing.pair in HELD_OUT_PAIRS]
    item = rng.choice(special or scene.objects)
    draft = _KINDS[kind](scene, item, rng, bool(special))
    if draft is None:
        return None
    speed = rng.choice(("slow", "normal", "fast"))
    text = rng.choice(SPEED_WORDINGS[speed]).format(draft.question)
    style = reply_style(draft.color, draft.size, speed, draft.denies)
    return Exchange(text, draft.answer, style, kind, draft.value, draft.choices)
