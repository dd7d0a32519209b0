"""How every record of the corpus is drawn: one function a kind, a pure function of (seed, kind, split, index).

Kinds: `speech` (any text, any voice, any style), `voice` (pairs canonical ↔ styled target voice), `dialogue` (spoken
questions about a picture), `vqa` (the same in writing), `caption` (picture and description), `reading` (any text by the
canonical voice). A text is redrawn until its own hash puts it in the split.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omnikit.data.espeak import Espeak, Speech
from omnikit.data.media import write_audio, write_image
from omnikit.data.prosody import NEUTRAL, compositions, prosody_of
from omnikit.data.questions import Exchange, question
from omnikit.data.scenes import Scene, describe, random_scene, render
from omnikit.data.texts import general_text, split_of_text
from omnikit.data.voices import CANONICAL_VOICE, TARGET_VOICES, voice_named, voices_of

ORIGIN = "espeak-ng synthetic"
TEXT_SPLIT = {"test_voice": "test", "test_style": "test", "test_scene": "test"}
"""Which split of the texts the special test splits draw from; the others draw from their own."""
IN_DOMAIN_SHARE = {"speech": 0.2, "voice": 0.4, "reading": 0.4}
TWO_TURNS_SHARE = 1 / 6
_RATE_JITTER, _SEMITONE_JITTER = 0.05, 1.0

Record = dict[str, Any]


@dataclass(frozen=True)
class Studio:
    """What a recipe works with: where files go, the corpus seed, and the synthesiser."""

    folder: Path
    seed: int
    espeak: Espeak


@dataclass(frozen=True)
class Job:
    """One record to be made: its kind, split and number."""

    kind: str
    split: str
    index: int

    @property
    def id(self) -> str:
        """`speech.train.000123`."""
        return f"{self.kind}.{self.split}.{self.index:06d}"

    @property
    def text_split(self) -> str:
        """The split that every text of the record must belong to."""
        return TEXT_SPLIT.get(self.split, self.split)


def _rng(studio: Studio, job: Job) -> random.Random:
    digest = hashlib.sha256(f"record/{studio.seed}/{job.id}".encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


def _scene_text(rng: random.Random) -> str:
    exchange = None
    while exchange is None:
        exchange = question(random_scene(rng), rng)
    return rng.choice((exchange.question, exchange.answer))


def _text(studio: Studio, job: Job, rng: random.Random) -> str:
    draw = _scene_text if rng.random() < IN_DOMAIN_SHARE[job.kind] else general_text
    while True:
        text = draw(rng)
        if split_of_text(text, studio.seed) == job.text_split:
            return text


def _save(studio: Studio, job: Job, part: str, speech: Speech, voice: str) -> Record:
    path = f"audio/{job.kind}.{job.split}/{job.index:06d}{part}.flac"
    write_audio(studio.folder / path, speech.wave, speech.sample_rate)
    return {
        "path": path,
        "sample_rate": speech.sample_rate,
        "duration_s": round(speech.wave.size / speech.sample_rate, 4),
        "voice": voice,
        "phones": [list(phone) for phone in speech.phones],
    }


def _canonical(studio: Studio, job: Job, part: str, text: str) -> Record:
    return _save(studio, job, part, studio.espeak.synthesise(text, CANONICAL_VOICE), CANONICAL_VOICE)


def _any_speaker(studio: Studio, job: Job, part: str, text: str, rng: random.Random) -> tuple[Record, dict[str, str]]:
    """Audio of a random voice (a held-out one for `test_voice`) in a random seen style, with a little jitter on top."""
    gender = rng.choice(("female", "male"))
    voice = rng.choice(voices_of(gender, held_out=job.split == "test_voice"))
    style = rng.choice(compositions(gender))
    asked = prosody_of(style)
    prosody = replace(
        asked,
        semitones=asked.semitones + rng.uniform(-_SEMITONE_JITTER, _SEMITONE_JITTER),
        rate_wpm=asked.rate_wpm * rng.uniform(1 - _RATE_JITTER, 1 + _RATE_JITTER),
    )
    return _save(studio, job, part, studio.espeak.synthesise(text, voice, prosody), voice), style


def _record(job: Job, messages: list[Record], scene: Record | None = None) -> Record:
    record: Record = {"id": job.id, "task": job.kind, "split": job.split, "origin": ORIGIN, "messages": messages}
    return record if scene is None else {**record, "scene": scene}


def _speech(studio: Studio, job: Job, rng: random.Random) -> Record:
    text = _text(studio, job, rng)
    audio, style = _any_speaker(studio, job, "", text, rng)
    return _record(job, [{"role": "user", "text": text, "audio": audio, "style": style}])


def _voice(studio: Studio, job: Job, rng: random.Random) -> Record:
    text = _text(studio, job, rng)
    gender = rng.choice(("female", "male"))
    style = rng.choice(compositions(gender, held_out=job.split == "test_style"))
    voice = TARGET_VOICES[gender]
    styled = _save(studio, job, "s", studio.espeak.synthesise(text, voice, prosody_of(style)), voice)
    return _record(job, [{**_read_out(studio, job, "c", text), "rendering": {"audio": styled, "style": style}}])


def _reading(studio: Studio, job: Job, rng: random.Random) -> Record:
    return _record(job, [_read_out(studio, job, "", _text(studio, job, rng))])


def _read_out(studio: Studio, job: Job, part: str, text: str) -> Record:
    style = {"gender": voice_named(CANONICAL_VOICE).gender, **NEUTRAL}
    return {"role": "assistant", "text": text, "audio": _canonical(studio, job, part, text), "style": style}


def _exchanges(studio: Studio, job: Job, scene: Scene, rng: random.Random) -> Iterator[Exchange]:
    """Exchanges about `scene` whose two texts belong to the split, in an endless stream of different questions."""
    asked: set[str] = set()
    for _ in range(20_000):
        exchange = question(scene, rng)
        if exchange is None or exchange.question in asked:
            continue
        if split_of_text(exchange.question, studio.seed) != job.text_split:
            continue
        if split_of_text(exchange.answer, studio.seed) != job.text_split:
            continue
        asked.add(exchange.question)
        yield exchange


def _picture(studio: Studio, job: Job, scene: Scene) -> Record:
    path = f"images/{job.id}.png"
    write_image(studio.folder / path, render(scene))
    return {"path": path}


def _scene_record(scene: Scene, exchanges: list[Exchange]) -> Record:
    objects = [
        {"cell": item.cell, "shape": item.shape, "color": item.color, "size": item.size} for item in scene.objects
    ]
    turns = [{"kind": exchange.kind, "value": exchange.value} for exchange in exchanges]
    return {"objects": objects, "turns": turns} if turns else {"objects": objects}


def _dialogue(studio: Studio, job: Job, rng: random.Random) -> Record:
    num_turns = 2 if rng.random() < TWO_TURNS_SHARE else 1
    exchanges: list[Exchange] = []
    while len(exchanges) < num_turns:
        scene = random_scene(rng, held_out=job.split == "test_scene")
        exchanges = [
            exchange for exchange, _ in zip(_exchanges(studio, job, scene, rng), range(num_turns), strict=False)
        ]
    messages: list[Record] = []
    for turn, exchange in enumerate(exchanges):
        audio, style = _any_speaker(studio, job, f"q{turn}", exchange.question, rng)
        user: Record = {"role": "user", "text": exchange.question, "audio": audio, "style": style}
        if turn == 0:
            user["image"] = _picture(studio, job, scene)
        reply = _canonical(studio, job, f"a{turn}", exchange.answer)
        messages += [user, {"role": "assistant", "text": exchange.answer, "audio": reply, "style": exchange.style}]
    return _record(job, messages, _scene_record(scene, exchanges))


def _caption(studio: Studio, job: Job, rng: random.Random) -> Record:
    while True:
        scene = random_scene(rng, held_out=job.split == "test_scene")
        text = describe(scene, rng)
        if split_of_text(text, studio.seed) == job.text_split:
            break
    messages = [{"role": "user", "image": _picture(studio, job, scene)}, {"role": "assistant", "text": text}]
    return _record(job, messages, _scene_record(scene, []))


def _vqa(studio: Studio, job: Job, rng: random.Random) -> Record:
    """A written question about a picture with its written answer: image-text only, no sound."""
    exchange = None
    while exchange is None:
        scene = random_scene(rng, held_out=job.split == "test_scene")
        exchange = next(_exchanges(studio, job, scene, rng), None)
    user = {"role": "user", "text": exchange.question, "image": _picture(studio, job, scene)}
    return _record(
        job,
        [user, {"role": "assistant", "text": exchange.answer, "style": exchange.style}],
        _scene_record(scene, [exchange]),
    )


_RECIPES: dict[str, Callable[[Studio, Job, random.Random], Record]] = {
    "speech": _speech,
    "voice": _voice,
    "dialogue": _dialogue,
    "caption": _caption,
    "vqa": _vqa,
    "reading": _reading,
}
KINDS: tuple[str, ...] = tuple(_RECIPES)


def make_record(studio: Studio, job: Job) -> Record:
    """Make one record: writes its media under the studio's folder and returns what goes into the JSONL file."""
    return _RECIPES[job.kind](studio, job, _rng(studio, job))
