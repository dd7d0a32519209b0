"""Samples about scenes that are drawn while a model learns, so that no picture comes twice: an endless source.

A kind of record with `drawn_` in front stands for it: `drawn_caption` and `drawn_vqa` need no record at all,
`drawn_dialogue` puts recorded questions and recorded answers together anew, wherever a new picture makes them fit, and
repeats a recorded dialogue where none does. Texts are those of the training split; no held-out pair of color and shape
is shown.

A question is asked only where every answer that some picture gives to it belongs to the training split, too. If it were
asked although "the square is small." is kept for tests, then a square asked about in those words would always be big:
the question alone would tell the answer, and what is kept for tests would be what the model has learnt never comes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from io import BytesIO

from omnikit.data.language_batches import Ids, LanguageSample, UserInput
from omnikit.data.media import StoredFile
from omnikit.data.packing import Counted, Skipped, State
from omnikit.data.questions import KINDS, Exchange, question
from omnikit.data.scenes import Scene, describe, name_of, random_scene, render
from omnikit.data.texts import split_of_text
from omnikit.errors import DataError, unknown_name

DRAWN = "drawn_"
RECORDS: dict[str, tuple[str, ...]] = {"caption": (), "vqa": (), "dialogue": ("dialogue", "voice", "reading")}
"""Kinds that can be drawn, and the kinds of records whose recordings they take."""
MAX_DRAWS = 400
"""Scenes that are drawn for one kind of question before another kind is tried."""

TWO_TURNS_SHARE = 1 / 6
"""Of drawn dialogues, as of recorded ones."""

Draw = Callable[[random.Random], LanguageSample | None]


class DrawnPicture(StoredFile):
    """A picture known by its scene, and drawn when it is read."""

    scene: Scene

    def __new__(cls, scene: Scene) -> DrawnPicture:  # type: ignore[override]
        """The picture of `scene`, which is named by all that is in it."""
        things = "".join(f" {name_of(item)} {item.cell}" for item in scene.objects)
        picture = str.__new__(cls, f"{DRAWN}{scene.seed}{things}.png")
        picture.scene = scene
        return picture

    def __getnewargs__(self) -> tuple[Scene]:  # type: ignore[override]
        return (self.scene,)

    @cached_property
    def data(self) -> bytes:  # type: ignore[override]
        """The file's bytes."""
        from PIL import Image

        file = BytesIO()
        Image.fromarray(render(self.scene)).save(file, format="PNG", compress_level=1)
        return file.getvalue()


class DrawnStream:
    """Samples of `draw`, each a function of `seed` and its number alone; longer ones than `limit` are drawn again.

    Raises `DataError` where nothing can be drawn.
    """

    def __init__(self, draw: Draw, count: Callable[[LanguageSample], int], *, seed: Sequence[int], limit: int) -> None:
        self.draw, self.count, self.seed, self.limit = draw, count, tuple(seed), limit
        self.position = 0
        self._next: Counted[LanguageSample] | None = None

    def peek(self) -> Counted[LanguageSample]:
        """The sample at `position`."""
        if self._next is None:
            rng = random.Random(f"drawn/{self.seed}/{self.position}")
            for _ in range(MAX_DRAWS):
                sample = self.draw(rng)
                if sample is not None and (tokens := self.count(sample)) <= self.limit:
                    self._next = Counted(sample, tokens)
                    return self._next
            raise DataError(
                f"Nothing that fits into {self.limit} positions could be drawn in {MAX_DRAWS} trials.\n"
                "Dialogues need recorded questions with recorded answers: is there any in the corpus?"
            )
        return self._next

    def advance(self) -> None:
        """One position further."""
        self.position, self._next = self.position + 1, None

    def state(self) -> State:
        """Samples given so far."""
        return (self.position,)

    def restore(self, state: State) -> None:
        """Go to a position."""
        (self.position,), self._next = state, None

    def skipped(self) -> list[Skipped]:
        """Nothing is ever left out."""
        return []


def drawing(kind: str, split_seed: int, recorded: Iterable[LanguageSample] = ()) -> Draw:
    """What draws samples of a kind (`caption`, `vqa`, `dialogue`).

    Args:
        kind: of the records that are drawn.
        split_seed: seed of the corpus, by which texts belong to a split.
        recorded: samples whose questions (dialogue) and answers (dialogue, tts) are taken.

    Raises `UnknownName` for a kind that cannot be drawn.
    """

    def is_taught(*texts: str) -> bool:
        return all(split_of_text(text, split_seed) == "train" for text in texts)

    def caption(rng: random.Random) -> LanguageSample | None:
        scene = random_scene(rng)
        text = describe(scene, rng)
        return LanguageSample("caption", UserInput((DrawnPicture(scene),)), text) if is_taught(text) else None

    def is_open(asked: Exchange) -> bool:
        return is_taught(asked.question, asked.answer, *asked.choices)

    def vqa(rng: random.Random) -> LanguageSample | None:
        kind = rng.choice(KINDS)
        for _ in range(MAX_DRAWS):
            scene = random_scene(rng)
            asked = question(scene, rng, kind)
            if asked is not None and is_open(asked):
                user = UserInput((DrawnPicture(scene),), text=asked.question)
                return LanguageSample("dialogue", user, asked.answer, style=asked.style)
        return None

    if kind not in RECORDS:
        raise unknown_name("kind of record to draw", kind, RECORDS)
    if kind == "dialogue":
        return _Dialogues(recorded, is_open)
    return caption if kind == "caption" else vqa


class _Dialogues:
    """Recorded questions and answers by their texts, in dialogues of one turn or two about one new picture."""

    def __init__(self, recorded: Iterable[LanguageSample], is_open: Callable[[Exchange], bool]) -> None:
        self.questions: dict[str, list[LanguageSample]] = {}
        self.answers: dict[str, list[Ids]] = {}
        self.whole: list[LanguageSample] = []
        self.is_open = is_open
        for sample in recorded:
            if sample.units is None:
                continue
            self.answers.setdefault(sample.text, []).append(sample.units)
            asked = sample.heard or sample.user.text
            if sample.task == "dialogue" and asked is not None:
                self.questions.setdefault(asked, []).append(sample)
                self.whole.append(sample)

    def __call__(self, rng: random.Random) -> LanguageSample | None:
        if not self.whole:
            return None
        kind = rng.choice(KINDS)
        for _ in range(MAX_DRAWS):
            scene = random_scene(rng)
            asked = self._recorded(question(scene, rng, kind))
            if asked is not None:
                break
        else:
            return rng.choice(self.whole)
        picture = (DrawnPicture(scene),)
        first = self._turn(asked, rng)
        first = replace(first, user=replace(first.user, images=picture))
        if rng.random() >= TWO_TURNS_SHARE:
            return first
        following = (self._recorded(question(scene, rng)) for _ in range(MAX_DRAWS))
        asked = next((other for other in following if other is not None and other.question != asked.question), None)
        return first if asked is None else replace(self._turn(asked, rng), history=((first.user, first.text),))

    def _recorded(self, asked: Exchange | None) -> Exchange | None:
        """A question that was recorded, as was its answer, and that leaves the answer open."""
        if asked is None or asked.question not in self.questions or asked.answer not in self.answers:
            return None
        return asked if self.is_open(asked) else None

    def _turn(self, asked: Exchange, rng: random.Random) -> LanguageSample:
        """One turn from recordings, whose picture is another or none."""
        recorded = rng.choice(self.questions[asked.question])
        user = replace(recorded.user, images=())
        units = rng.choice(self.answers[asked.answer])
        return replace(recorded, user=user, text=asked.answer, style=asked.style, units=units, history=())
