"""A system of omnikit that answers the requests of lmms-eval: pictures and a question → text, in batches.

lmms-eval hands over requests of (question, generation settings, document → pictures, document, task, split), and takes
one text for each, in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from PIL import Image

import omnikit
from omnikit.data.media import StoredFile, load_images
from omnikit.errors import OmnikitError, unknown_name
from omnikit.slots.backbone import Segment
from omnikit.slots.seeing import picture_size
from omnikit.system import System

ASK = ("dialogue", "chat")
NEW_TOKENS = 64
"""New tokens of an answer where a task does not say how many, a short answer's."""


@dataclass(frozen=True)
class Request:
    """What one request asks: pictures (PNG), a question, and its generation settings."""

    pictures: tuple[StoredFile, ...]
    question: str
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Requests of one key may share a batch."""
        return json.dumps(self.settings, sort_keys=True, default=str)


class OmnikitModel(lmms):
    """The model `omnikit` of lmms-eval.

    Args:
        weights: what `omnikit.load` takes: a tag, a folder, a published checkpoint, `hf:owner/name@revision`.
        ask: `dialogue` asks as `System.reply` does, and takes the words of the reply, whose format the system was
            taught; `chat` asks without a format, as the published checkpoints were asked by their benchmarks.
        batch_size: requests that are answered together; the answers are those of each alone.
        device: where the system computes; by default on the first GPU where there is one.
        seed: draws answers of tasks that ask for a temperature.
        max_new_tokens: the longest reply of `dialogue`, whose words are only part of it; by default as the system says.

    Raises `OmnikitError` for weights that are no system that sees and writes, `UnknownName` for another `ask`.
    """

    is_simple = True

    def __init__(
        self,
        weights: str = "tiny",
        ask: str = "dialogue",
        batch_size: int | str = 1,
        device: str | None = None,
        seed: int = 0,
        max_batch_size: int | None = None,
        max_new_tokens: int | str | None = None,
    ) -> None:
        super().__init__()
        if ask not in ASK:
            raise unknown_name("way to ask", ask, ASK)
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise OmnikitError(f"batch_size is {batch_size}: give a number, 1 or more.")
        system = omnikit.load(weights)
        if not isinstance(system, System):
            raise OmnikitError(f"{weights} is one component; lmms-eval needs a whole system.")
        for slot in ("vision_encoder", "projector", "backbone", "format"):
            system.part(slot)
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.system, self.ask, self.seed = system, ask, int(seed)
        self.reply_tokens = system.limit(None if max_new_tokens is None else int(max_new_tokens))
        for slot in ("vision_encoder", "projector", "backbone"):
            system.part(slot).to(where)
        size = int(batch_size)
        self.batch_size = size if max_batch_size is None else min(size, int(max_batch_size))

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answer to every request, in order; those with the same settings are answered in batches."""
        read = [self._read(request.args) for request in requests]
        answers: dict[int, str] = {}
        for numbers in self._batches(read):
            texts = self._answer([read[number] for number in numbers])
            for number, text in zip(numbers, texts, strict=True):
                answers[number] = text
                self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return [answers[number] for number in range(len(read))]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refused: these are tasks that compare given answers, and omnikit's formats have no probability of a part."""
        raise OmnikitError("The model omnikit answers tasks of generate_until only; choose the generative variant.")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Refused: tasks in which the next question depends on the last answer."""
        raise OmnikitError("The model omnikit answers tasks of generate_until only, of one round.")

    def _read(self, arguments: Sequence[Any]) -> Request:
        question, settings, to_visual, document, task, split = arguments
        shown = to_visual(self.task_dict[task][split][document])
        return Request(tuple(_stored(picture) for picture in _flat(shown)), question, dict(settings))

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Numbers of requests that share settings, at most `batch_size` together."""
        alike: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            alike.setdefault(request.key, []).append(number)
        for numbers in alike.values():
            for start in range(0, len(numbers), self.batch_size):
                yield numbers[start : start + self.batch_size]

    @torch.no_grad()
    def _answer(self, requests: Sequence[Request]) -> list[str]:
        backbone, form = self.system.part("backbone"), self.system.part("format")
        settings = requests[0].settings
        new = int(settings.get("max_new_tokens") or NEW_TOKENS)
        draws = bool(settings.get("do_sample", float(settings.get("temperature") or 0) > 0))
        written = backbone.generate(
            [self._prompt(request) for request in requests],
            generator=torch.Generator().manual_seed(self.seed),
            max_new_tokens=new if self.ask == "chat" else self.reply_tokens,  # a reply is longer than the words in it
            temperature=float(settings.get("temperature") or 0) if draws else 0.0,
        )
        texts = [row.text for row in written]
        if self.ask == "dialogue":
            turns = [form.parse("dialogue", text, backbone) for text in texts]
            texts = [turn.text or turn.raw for turn in turns]
        return [_until(text, settings.get("until")).strip() for text in texts]

    def _prompt(self, request: Request) -> list[Segment]:
        """What the backbone reads: pictures first, then the question."""
        encoder = self.system.part("vision_encoder")
        pictures: list[Segment] = []
        if request.pictures:
            seen = self.system.look(load_images(request.pictures, picture_size(encoder)))
            pictures = [Segment(frames=frames) for frames in seen]
        question = Segment(text=request.question.replace("<image>", "").strip())
        if self.ask == "dialogue":
            return self.system.part("format").prompt("dialogue", [*pictures, question])
        lines = [item for picture in pictures for item in (picture, Segment(text="\n"))]
        return [Segment(control="start"), Segment(control="user"), *lines, question, Segment(control="reply")]


def _flat(shown: Any) -> list[Any]:
    """What a document shows, as a flat list; nothing shown is an empty one."""
    if shown is None:
        return []
    return [picture for item in shown for picture in _flat(item)] if isinstance(shown, list | tuple) else [shown]


def _stored(picture: Any) -> StoredFile:
    """A picture without loss as a file in memory. Raises `OmnikitError` for a video, a sound or anything else."""
    if not isinstance(picture, Image.Image):
        raise OmnikitError(f"The model omnikit looks at pictures; this task shows {type(picture).__name__}.")
    written = BytesIO()
    picture.convert("RGB").save(written, format="PNG")
    return StoredFile("picture.png", written.getvalue())


def _until(text: str, ends: str | Sequence[str] | None) -> str:
    """The text before the first of its ends."""
    for end in [ends] if isinstance(ends, str) else ends or ():
        text = text.split(end, 1)[0] if end else text
    return text
