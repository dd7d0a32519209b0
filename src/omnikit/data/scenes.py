"""Drawn scenes: a 2 x 2 grid of coloured shapes, 64 x 64 pixels, with captions. The questions live in `questions.py`.

Letters: H = W = 64 pixels.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

IMAGE_SIZE = 64
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "heart")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "blue": (45, 80, 215),
    "yellow": (235, 215, 50),
    "green": (45, 160, 65),
    "purple": (140, 60, 175),
    "orange": (240, 135, 30),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
SIZES: tuple[str, ...] = ("small", "big")
CELLS: tuple[str, ...] = ("top left", "top right", "bottom left", "bottom right")
HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {("red", "star"), ("blue", "heart"), ("green", "cross"), ("yellow", "square")}
)
"""(color, shape) pairs that are seen, named and asked about in `test_scene` only."""
NUMBER_WORDS = ("no", "one", "two", "three", "four")

_OVERSAMPLING = 4
_RADIUS = {"small": (5.5, 7.0), "big": (11.5, 13.0)}
_CELL_SIZE = IMAGE_SIZE // 2


@dataclass(frozen=True)
class SceneObject:
    """One drawn thing: its cell (a name of CELLS), shape, color and size."""

    cell: str
    shape: str
    color: str
    size: str

    @property
    def pair(self) -> tuple[str, str]:
        """(color, shape), what compositions are held out by."""
        return self.color, self.shape


@dataclass(frozen=True)
class Scene:
    """One to four objects in cells of their own; `seed` fixes jitter and noise of the drawing."""

    objects: tuple[SceneObject, ...]
    seed: int

    @property
    def has_held_out_pair(self) -> bool:
        """Whether any object is of a held-out (color, shape) pair."""
        return any(item.pair in HELD_OUT_PAIRS for item in self.objects)


def random_pair(rng: random.Random, held_out: bool = False) -> tuple[str, str]:
    """A (color, shape) pair that training may see, or one of the held-out ones."""
    if held_out:
        return rng.choice(sorted(HELD_OUT_PAIRS))
    while True:
        pair = rng.choice(tuple(COLORS)), rng.choice(SHAPES)
        if pair not in HELD_OUT_PAIRS:
            return pair


def random_scene(rng: random.Random, held_out: bool = False) -> Scene:
    """A scene without held-out pairs or, for `held_out`, one whose first object is of a held-out pair."""
    cells = sorted(rng.sample(CELLS, rng.choice((1, 2, 2, 3, 3, 4, 4))), key=CELLS.index)
    special = rng.randrange(len(cells)) if held_out else -1
    objects = []
    for index, cell in enumerate(cells):
        color, shape = random_pair(rng, held_out=index == special)
        objects.append(SceneObject(cell, shape, color, rng.choice(SIZES)))
    return Scene(tuple(objects), rng.randrange(2**31))


def _outline(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Corners of a shape around (x, y) that fills about the same area for every shape."""
    if shape == "square":
        side = 0.88 * radius
        return [(x - side, y - side), (x + side, y - side), (x + side, y + side), (x - side, y + side)]
    if shape == "triangle":
        return [(x, y - radius), (x + radius, y + 0.8 * radius), (x - radius, y + 0.8 * radius)]
    if shape == "star":
        spikes = ((radius if k % 2 == 0 else 0.42 * radius, math.pi * (k / 5 - 0.5)) for k in range(10))
        return [(x + r * math.cos(angle), y + r * math.sin(angle)) for r, angle in spikes]
    if shape == "cross":
        arm = 0.3298 * radius
        quarter = ((-1, -3), (1, -3), (1, -1))  # three corners, turned by 90 degrees three times
        half = quarter + tuple((-b, a) for a, b in quarter)
        return [(x + a * arm, y + b * arm) for a, b in half + tuple((-a, -b) for a, b in half)]
    if shape == "heart":
        angles = (2 * math.pi * k / 48 for k in range(48))
        curve = (
            (16 * math.sin(a) ** 3, 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a))
            for a in angles
        )
        return [(x + u * radius / 16, y - (v + 2) * radius / 16) for u, v in curve]
    angles = (2 * math.pi * k / 48 for k in range(48))
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def render(scene: Scene) -> np.ndarray:
    """The picture of a scene, uint8 [64, 64, 3], anti-aliased; the same scene gives the same pixels."""
    rng = np.random.default_rng(scene.seed)
    size = IMAGE_SIZE * _OVERSAMPLING
    background = tuple(int(value) for value in rng.integers(128, 168, 3))
    image = Image.new("RGB", (size, size), background)
    draw = ImageDraw.Draw(image)
    for item in scene.objects:
        column, row = CELLS.index(item.cell) % 2, CELLS.index(item.cell) // 2
        radius = rng.uniform(*_RADIUS[item.size])
        slack = _CELL_SIZE / 2 - radius - 1.0
        x = (column + 0.5) * _CELL_SIZE + rng.uniform(-slack, slack)
        y = (row + 0.5) * _CELL_SIZE + rng.uniform(-slack, slack)
        fill = tuple(int(value) for value in np.clip(np.array(COLORS[item.color]) + rng.integers(-14, 15, 3), 0, 255))
        corners = _outline(item.shape, x * _OVERSAMPLING, y * _OVERSAMPLING, radius * _OVERSAMPLING)
        draw.polygon(corners, fill=fill)
    pixels = np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX), dtype=np.int16)
    noise = rng.integers(-3, 4, pixels.shape[:2])[..., None]  # [H, W, 1]
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def article(phrase: str) -> str:
    """`a` or `an`, in front of a phrase."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def name_of(item: SceneObject) -> str:
    """Size, color and shape: `small red circle`."""
    return f"{item.size} {item.color} {item.shape}"


def describe(scene: Scene, rng: random.Random) -> str:
    """One of many captions that name every object with its place, in a random order."""
    items = list(scene.objects)
    rng.shuffle(items)
    form = rng.randrange(3)
    if form == 0:
        parts = [f"{article(name_of(item))} in the {item.cell}" for item in items]
        opening = rng.choice(("", "there is ", "i see ", "the picture shows ", "here is "))
    elif form == 1:
        parts = [f"in the {item.cell} {article(name_of(item))}" for item in items]
        opening = rng.choice(("", "we see ", "you find "))
    else:
        parts = [f"the {item.shape} in the {item.cell} is {item.size} and {item.color}" for item in items]
        opening = rng.choice(("", "look, ", "in this picture, "))
    if len(parts) > 1:
        parts = [", ".join(parts[:-1]) + " and " + parts[-1]]
    return f"{opening}{parts[0]}."
