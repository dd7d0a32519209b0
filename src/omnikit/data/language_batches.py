"""What the language stages learn from: captions, transcripts, texts to speak and spoken dialogues, mixed by weight.

Letters: I images of a batch, H = W pixels, K codebooks, T units.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from omnikit.data.buckets import BucketPlan
from omnikit.data.media import load_images
from omnikit.errors import DataError, unknown_name
from omnikit.nn.picture_sizes import NativeSize

TASKS = ("caption", "asr", "tts", "dialogue")
Ids = tuple[tuple[int, ...], ...]
"""Units as plain numbers, [K][T]."""


@dataclass(frozen=True)
class UserInput:
    """What a user shows (path of a picture), says (units) or types."""

    image: str | None = None
    units: Ids | None = None
    text: str | None = None


@dataclass(frozen=True)
class LanguageSample:
    """One answer to learn: the user's input, earlier (input, reply text) turns, and the reply.

    `heard` is what the user said, where it was said; `style` and `units` belong to the reply.
    """

    task: str
    user: UserInput
    text: str
    heard: str | None = None
    style: Mapping[str, str] = field(default_factory=dict)
    units: Ids | None = None
    history: tuple[tuple[UserInput, str], ...] = ()

    @property
    def images(self) -> list[str]:
        """Paths of every picture in it."""
        return [user.image for user in (*(past for past, _ in self.history), self.user) if user.image is not None]


@dataclass(frozen=True)
class LanguageBatch:
    """Samples, and the pictures that they show, each once: paths, and `pixels` and `sizes` as `Images` holds them."""

    samples: tuple[LanguageSample, ...]
    paths: tuple[str, ...]
    pixels: Tensor
    sizes: tuple[tuple[int, int], ...] | None = None


def language_samples(
    records: Sequence[Mapping[str, Any]],
    tasks: Sequence[str],
    units: Mapping[str, np.ndarray],
    *,
    typed_share: float = 0.0,
) -> dict[str, list[LanguageSample]]:
    """Samples of the named tasks in corpus records.

    Recordings with text are transcripts (asr), styled renderings too; assistants' own are texts to speak (tts);
    exchanges with sound are dialogues, a picture alone with its answer is a caption. No sample of caption, asr or tts holds both picture and
    speech. In a share of the dialogues, chosen by record id, the user types instead of speaking. Recordings are looked
    up in `units` unless the message brings its units.
    """
    found: dict[str, list[LanguageSample]] = {task: [] for task in tasks}
    for task in tasks:
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
    for record in records:
        typed = random.Random(record["id"]).random() < typed_share
        for sample in _samples_of(record["messages"], units, set(tasks), typed):
            found[sample.task].append(sample)
    return found


def _samples_of(
    messages: Sequence[Mapping[str, Any]], store: Mapping[str, np.ndarray], tasks: set[str], typed: bool
) -> Iterator[LanguageSample]:
    for message in messages:
        if "text" in message and _is_spoken(message):
            if "asr" in tasks:
                for recording in (message, message.get("rendering")):
                    if recording is not None:
                        yield LanguageSample("asr", UserInput(units=_units(recording, store)), message["text"])
            if message["role"] == "assistant" and "tts" in tasks:
                spoken = _units(message, store)
                yield LanguageSample("tts", UserInput(text=message["text"]), message["text"], units=spoken)
    history: list[tuple[UserInput, str]] = []
    for asked, answer in pairwise(messages):
        if (asked["role"], answer["role"]) != ("user", "assistant") or "text" not in answer:
            continue
        image = asked["image"]["path"] if "image" in asked else None
        if not _is_spoken(asked) and "text" not in asked:
            if image is not None and "caption" in tasks:
                yield LanguageSample("caption", UserInput(image=image), answer["text"])
            continue
        if "dialogue" not in tasks:
            continue
        spoken = _is_spoken(asked) and not (typed and "text" in asked)
        user = UserInput(image, units=_units(asked, store)) if spoken else UserInput(image, text=asked["text"])
        yield LanguageSample(
            task="dialogue",
            user=user,
            text=answer["text"],
            heard=asked.get("text") if spoken else None,
            style=answer.get("style", {}),
            units=_units(answer, store) if _is_spoken(answer) else None,
            history=tuple(history),
        )
        history.append((user, answer["text"]))


def _is_spoken(message: Mapping[str, Any]) -> bool:
    return "audio" in message or "units" in message


def _units(message: Mapping[str, Any], store: Mapping[str, np.ndarray]) -> Ids:
    if "units" in message:
        return (tuple(message["units"]),)
    return tuple(tuple(row) for row in store[message["audio"]["path"]].tolist())  # [K, T] → [K][T]


class LanguageBatches(Dataset[LanguageBatch]):
    """Batch number `i` of a training: every task's share of `batch_tokens`, a function of seed and step alone.

    Args:
        samples: samples by task.
        weights: share of the positions of a batch that each task gets (relative numbers; 0 leaves a task out).
        count: positions that a sample takes; similar lengths share a batch.
        batch_tokens: positions of a batch, padding included.
        image_size: side of the pictures in pixels, or the bounds of those that keep their shape.

    Raises `DataError` for a task with a weight and no samples.
    """

    def __init__(
        self,
        root: Path,
        samples: Mapping[str, Sequence[LanguageSample]],
        weights: Mapping[str, float],
        count: Callable[[LanguageSample], int],
        *,
        batch_tokens: int,
        image_size: int | NativeSize,
        num_batches: int,
        seed: int,
        start: int = 0,
    ) -> None:
        self.root, self.image_size = Path(root), image_size
        self.num_batches, self.start = num_batches, start
        shares = {task: float(weight) for task, weight in weights.items() if weight > 0}
        empty = [task for task in shares if not samples.get(task)]
        if empty or not shares:
            raise DataError(
                f"The mixture asks for {', '.join(empty) or 'no task at all'}, but there are no such samples.\n"
                f"Samples here: {', '.join(f'{task} {len(rows)}' for task, rows in samples.items()) or 'none'}."
            )
        self.samples = {task: list(samples[task]) for task in shares}
        self.plans = {
            task: BucketPlan(
                [count(sample) for sample in self.samples[task]],
                batch_tokens * share / sum(shares.values()),
                seed=seed + number,
            )
            for number, (task, share) in enumerate(shares.items())
        }

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> LanguageBatch:
        step = index + self.start
        chosen = [self.samples[task][row] for task, plan in self.plans.items() for row in plan.batch(step)]
        return read_batch(self.root, chosen, self.image_size)


def read_batch(root: Path, samples: Sequence[LanguageSample], image_size: int | NativeSize) -> LanguageBatch:
    """A batch of `samples` with their pictures, read from below `root`."""
    paths = tuple(dict.fromkeys(path for sample in samples for path in sample.images))
    images = load_images([root / path for path in paths], image_size)
    return LanguageBatch(tuple(samples), paths, images.pixels, images.sizes)
