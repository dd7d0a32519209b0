"""What the language stages learn from: captions, transcripts, texts to speak and spoken dialogues, mixed by weight.

Letters: K codebooks, T units.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import Dataset

from omnikit.data.media import join_images, load_audio, load_images, located
from omnikit.data.packing import Mixture, Skipped, State
from omnikit.data.records import pictures_of
from omnikit.data.shares import Share
from omnikit.data.speech_batches import pad_audio
from omnikit.errors import DataError, MediaError, unknown_name
from omnikit.nn.picture_sizes import PictureSize
from omnikit.types import Audio, Images

T = TypeVar("T")
TASKS = ("caption", "asr", "tts", "dialogue")
Ids = tuple[tuple[int, ...], ...]
"""Units as plain numbers, [K][T]."""


@dataclass(frozen=True)
class Sound:
    """A recording by its path, and how long it lasts."""

    path: str
    seconds: float


@dataclass(frozen=True)
class UserInput:
    """What a user shows (paths of pictures), says (units, the recording itself, or both) or types."""

    images: tuple[str, ...] = ()
    units: Ids | None = None
    text: str | None = None
    sound: Sound | None = None


@dataclass(frozen=True)
class LanguageSample:
    """One answer to learn: the user's input, earlier (input, reply text) turns, and the reply.

    `heard` is what the user said, where it was said, and `heard_style` how; `style` and `units` belong to the reply.
    """

    task: str
    user: UserInput
    text: str
    heard: str | None = None
    style: Mapping[str, str] = field(default_factory=dict)
    units: Ids | None = None
    history: tuple[tuple[UserInput, str], ...] = ()
    heard_style: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> list[str]:
        """Paths of every picture in it."""
        return [image for user in self.inputs for image in user.images]

    @property
    def sounds(self) -> list[Sound]:
        """Every recording in it that is listened to, beside or instead of its units."""
        return [user.sound for user in self.inputs if user.sound is not None]

    @property
    def inputs(self) -> list[UserInput]:
        """Everything that the user has put in, the earliest first."""
        return [*(past for past, _ in self.history), self.user]


@dataclass(frozen=True)
class LanguageBatch:
    """Samples, and the pictures that they show, each once: paths, and `images` in their order.

    Recordings that are listened to are there once each, too: `sound_paths` and the waves, padded.
    `drawn` names the source and the tokens of every sample of the whole batch, of which `samples` are those that this
    process takes; they do not count where it stands in (`data.shares`). `state` is where the mixture stands after the
    batch, `skipped` what could not be used while it was made. `rest` are further pieces of what this process
    takes, where it takes several: each fits into memory by itself.
    """

    samples: tuple[LanguageSample, ...]
    paths: tuple[str, ...]
    images: Images
    sound_paths: tuple[str, ...] = ()
    audio: Audio | None = None
    drawn: tuple[tuple[str, int], ...] = ()
    state: Mapping[str, State] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    counts: bool = True
    rest: tuple[LanguageBatch, ...] = ()


def language_samples(
    records: Sequence[Mapping[str, Any]],
    tasks: Sequence[str],
    units: Mapping[str, np.ndarray],
    *,
    typed_share: float = 0.0,
    user_units: bool = True,
    user_sound: bool = False,
) -> dict[str, list[LanguageSample]]:
    """Samples of the named tasks in corpus records.

    Recordings with text are transcripts (asr), styled renderings too; assistants' own are texts to speak (tts);
    exchanges with sound are dialogues, a picture alone with its answer is a caption. No sample of caption, asr or tts
    holds both picture and speech. In a share of the dialogues, chosen by record id, the user types instead of speaking.
    Recordings are looked up in `units` unless the message brings its units.

    What users say is kept as units, as the recording itself (`user_sound`), or as both.
    """
    spoken = _Spoken(units, user_units, user_sound)
    found: dict[str, list[LanguageSample]] = {task: [] for task in tasks}
    for task in tasks:
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
    for record in records:
        typed = random.Random(record["id"]).random() < typed_share
        for sample in _samples_of(record["messages"], spoken, set(tasks), typed):
            found[sample.task].append(sample)
    return found


def _samples_of(
    messages: Sequence[Mapping[str, Any]], speech: _Spoken, tasks: set[str], typed: bool
) -> Iterator[LanguageSample]:
    for message in messages:
        if "text" in message and _is_spoken(message):
            if "asr" in tasks:
                for recording in (message, message.get("rendering")):
                    if recording is not None:
                        yield LanguageSample("asr", speech.said(recording), message["text"])
            if message["role"] == "assistant" and "tts" in tasks:
                own = speech.units(message)
                yield LanguageSample("tts", UserInput(text=message["text"]), message["text"], units=own)
    history: list[tuple[UserInput, str]] = []
    for asked, answer in pairwise(messages):
        if (asked["role"], answer["role"]) != ("user", "assistant") or "text" not in answer:
            continue
        images = tuple(pictures_of(asked))
        if not _is_spoken(asked) and "text" not in asked:
            if images and "caption" in tasks:
                yield LanguageSample("caption", UserInput(images), answer["text"])
            continue
        if "dialogue" not in tasks:
            continue
        spoken = _is_spoken(asked) and not (typed and "text" in asked)
        user = speech.said(asked, images) if spoken else UserInput(images, text=asked["text"])
        yield LanguageSample(
            task="dialogue",
            user=user,
            text=answer["text"],
            heard=asked.get("text") if spoken else None,
            style=answer.get("style", {}),
            units=speech.units(answer) if _is_spoken(answer) else None,
            history=tuple(history),
            heard_style=asked.get("style", {}) if spoken else {},
        )
        history.append((user, answer["text"]))


def _is_spoken(message: Mapping[str, Any]) -> bool:
    return "audio" in message or "units" in message


@dataclass(frozen=True)
class _Spoken:
    """How what is said is kept: units by path of the recording, and whether users' are kept so, as sound, or both."""

    store: Mapping[str, np.ndarray]
    user_units: bool
    user_sound: bool

    def units(self, message: Mapping[str, Any]) -> Ids:
        if "units" in message:
            books = message["units"]
            return tuple(map(tuple, books if books and isinstance(books[0], list) else [books]))
        return tuple(tuple(row) for row in self.store[message["audio"]["path"]].tolist())  # [K, T] → [K][T]

    def said(self, message: Mapping[str, Any], images: tuple[str, ...] = ()) -> UserInput:
        """A user's recording, beside pictures or alone. Raises `DataError` for units alone where sound is needed."""
        sound = None
        if self.user_sound:
            if "audio" not in message:
                raise DataError(
                    "A message brings units without their recording, but this system listens to recordings."
                )
            sound = Sound(message["audio"]["path"], message["audio"]["duration_s"])
        return UserInput(images, self.units(message) if self.user_units else None, sound=sound)


class LanguageBatches(Dataset[LanguageBatch]):
    """Batch number `i` of a training: what the mixture gives at that step, with its pictures and recordings.

    Every worker draws every batch, which is little work, and reads the files of those that it is asked for; so batches
    are the same for any number of workers, and of processes, each of which reads the rows of its `share`.

    Args:
        root: folder that the paths of samples start from.
        mixture: draws the samples of one batch after the other.
        image_size: what pictures the vision encoder takes (the size of its port).
        start: the batch that index 0 stands for.
        origin: a batch and the state of the mixture before it, to go on from; without one, from the beginning.
        audio_rate: rate in Hz of the recordings that samples bring.
        piece_tokens: batches come in pieces of at most so many tokens, or of one sample; without, in one.
    """

    def __init__(
        self,
        root: Path,
        mixture: Mixture[LanguageSample],
        *,
        image_size: PictureSize,
        num_batches: int,
        start: int = 0,
        origin: tuple[int, Mapping[str, State]] | None = None,
        audio_rate: int | None = None,
        piece_tokens: int | None = None,
    ) -> None:
        self.root, self.mixture, self.image_size, self.audio_rate = Path(root), mixture, image_size, audio_rate
        self.piece_tokens = piece_tokens
        self.num_batches, self.start, self.share = num_batches, start, Share()
        self._origin = (0, mixture.state()) if origin is None else origin
        self._rewind()

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> LanguageBatch:
        step = index + self.start
        if step < self._next:
            self._rewind()
        while self._next <= step:
            drawn, skipped = self.mixture.batch(), self.mixture.skipped()
            self._next += 1
        rows = sorted(drawn, key=lambda row: row.tokens)
        own = [self.share.of(rows)]
        if self.piece_tokens is not None:
            own = self.share.pieces(rows, [row.tokens for row in rows], self.piece_tokens)
        first, *rest = self._read([([row.sample for _, row in piece], counts) for piece, counts in own])
        return replace(
            first,
            drawn=tuple((row.source, row.tokens) for row in drawn),
            state=self.mixture.state(),
            skipped=(*skipped, *first.skipped, *(told for piece in rest for told in piece.skipped)),
            rest=tuple(rest),
        )

    def _read(self, given: Iterable[tuple[list[LanguageSample], bool]]) -> list[LanguageBatch]:
        """The pieces of samples that count or not; where all of one is broken, another stands in and does not count."""
        pieces = []
        for samples, counts in given:
            piece = _read_usable(self.root, samples, self.image_size, self.audio_rate)
            pieces.append(replace(piece, counts=counts))
        usable = next((piece for piece in pieces if piece.samples), None)
        if usable is None:
            raise _nothing_usable([told for piece in pieces for told in piece.skipped])
        return [piece if piece.samples else replace(usable, counts=False, skipped=piece.skipped) for piece in pieces]

    def _rewind(self) -> None:
        self._next = self._origin[0]
        self.mixture.restore(self._origin[1])


def read_batch(
    root: Path,
    samples: Sequence[LanguageSample],
    image_size: PictureSize,
    audio_rate: int | None = None,
) -> LanguageBatch:
    """A batch of `samples` with their pictures, and their recordings at `audio_rate` Hz, read from below `root`.

    Samples with a broken file are left out and named in `skipped`. Raises `DataError` when none is left.
    """
    batch = _read_usable(root, samples, image_size, audio_rate)
    if samples and not batch.samples:
        raise _nothing_usable(batch.skipped)
    return batch


def _nothing_usable(skipped: Sequence[Skipped]) -> DataError:
    return DataError("No sample of a batch can be used:\n" + "\n".join(told.reason for told in skipped[:6]))


def _read_usable(
    root: Path, samples: Sequence[LanguageSample], image_size: PictureSize, audio_rate: int | None
) -> LanguageBatch:
    """`read_batch`, which may leave nothing."""
    pictures, broken = _read(
        (path for sample in samples for path in sample.images), lambda path: load_images([path], image_size), root
    )
    sounds: dict[str, Audio] = {}
    if audio_rate is not None:
        paths = (sound.path for sample in samples for sound in sample.sounds)
        sounds, silent = _read(paths, lambda path: load_audio(path, audio_rate), root)
        broken |= silent
    kept = [sample for sample in samples if not broken.keys() & {*sample.images, *(own.path for own in sample.sounds)}]
    seen = {path: pictures[path] for sample in kept for path in sample.images}
    heard = {sound.path: sounds[sound.path] for sample in kept for sound in sample.sounds if sounds}
    audio = None
    if heard and audio_rate is not None:
        audio = pad_audio([each.wave[0].numpy() for each in heard.values()], audio_rate)
    images = join_images(list(seen.values())) if seen else load_images([], image_size)
    skipped = tuple(Skipped(path, reason) for path, reason in broken.items())
    return LanguageBatch(tuple(kept), tuple(seen), images, tuple(heard), audio, skipped=skipped)


def _read(paths: Iterable[str], load: Callable[[str | Path], T], root: Path) -> tuple[dict[str, T], dict[str, str]]:
    """Every file once, by its path, and why those that are broken cannot be read."""
    found: dict[str, T] = {}
    broken: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        try:
            found[path] = load(located(root, path))
        except MediaError as error:
            broken[path] = str(error).splitlines()[0]
    return found, broken
