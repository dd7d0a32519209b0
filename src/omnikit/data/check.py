"""Checking a corpus: every record against the schema, every file it names, and the promises between the splits.

What is looked for: broken JSON and schema errors (with unknown styles and phones among them); audio that is missing,
0 bytes, broken, NaN, silent, clipped, too long, of another rate or length than declared; phones out of order or past
the end; broken images; ids used twice; texts in two splits; held-out voices, styles, pairs that training hears or sees.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from omnikit.data.media import MAX_AUDIO_S, read_audio, read_image
from omnikit.data.prosody import HELD_OUT_STYLES
from omnikit.data.records import Problem, read_lines, schema_problems
from omnikit.data.scenes import HELD_OUT_PAIRS
from omnikit.data.texts import normalise_text
from omnikit.data.voices import VOICES
from omnikit.errors import DataError, MediaError

CLIPPED_SHARE = 1e-3
"""An utterance counts as clipped when more than this share of its samples lies at full scale."""
DURATION_TOLERANCE_S = 0.01
_FULL_SCALE = 0.999
_SEEN_SPLITS = ("train", "valid")

Finding = tuple[str, str]
"""(field, what)."""
Progress = Callable[[int, int], None]


def check_corpus(path: str | os.PathLike[str], progress: Progress | None = None) -> list[Problem]:
    """All problems of a folder of JSONL files, or of one JSONL file; an empty list for a sound corpus.

    `progress` is called with (bytes of JSONL done, bytes in all). Raises DataError when there is nothing to check.
    """
    place = Path(path)
    files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    if not files or not files[0].is_file():
        raise DataError(f"There is nothing to check at {place}: give a JSONL file, or a folder with *.jsonl files.")
    state = _Seen()
    problems = []
    total = sum(file.stat().st_size for file in files)
    done = 0
    for file in files:
        empty = True
        for line in read_lines(file):
            empty = False
            if line.record is None:
                problems.append(Problem(str(file), line.number, "", line.problem))
                continue
            where = f"{file.name}:{line.number}"
            found = _record_findings(line.record, file, state, where)
            problems += [Problem(str(file), line.number, field, what) for field, what in found]
            if progress is not None:
                progress(done + line.end, total)
        if empty:
            problems.append(Problem(str(file), 0, "", "the file holds no records"))
        done += file.stat().st_size
    return problems


class _Seen:
    """What has been met so far: ids, and the split group of every text."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.texts: dict[str, tuple[str, str]] = {}


def _record_findings(record: Mapping[str, Any], file: Path, seen: _Seen, where: str) -> Iterator[Finding]:
    broken = schema_problems(record)
    if broken:
        yield from broken
        return
    first = seen.ids.setdefault(record["id"], where)
    if first != where:
        yield "id", f"'{record['id']}' is used already at {first}"
    parts = file.stem.split(".")
    if len(parts) == 2 and parts != [record["task"], record["split"]]:
        yield "split", f"a record of {record['task']}.{record['split']} in the file {file.name}"
    for index, message in enumerate(record["messages"]):
        name = f"messages[{index}]"
        if "text" in message:
            yield from _text_findings(message["text"], record["split"], f"{name}.text", seen, where)
        if "audio" in message:
            yield from _audio_findings(message["audio"], file.parent, f"{name}.audio")
            yield from _held_out_findings(message["audio"], message.get("style", {}), record, name)
        if "rendering" in message:
            rendering = message["rendering"]
            yield from _audio_findings(rendering["audio"], file.parent, f"{name}.rendering.audio")
            yield from _held_out_findings(rendering["audio"], rendering["style"], record, f"{name}.rendering")
        if "image" in message:
            yield from _image_findings(message["image"], file.parent, f"{name}.image")
        for number, image in enumerate(message.get("images", ())):
            yield from _image_findings(image, file.parent, f"{name}.images[{number}]")
    if record["split"] != "test_scene":
        for index, item in enumerate(record.get("scene", {}).get("objects", ())):
            if (item["color"], item["shape"]) in HELD_OUT_PAIRS:
                yield (
                    f"scene.objects[{index}]",
                    f"the held-out pair {item['color']} {item['shape']} is for test_scene only",
                )


def _text_findings(text: str, split: str, field: str, seen: _Seen, where: str) -> Iterator[Finding]:
    group = split.split("_")[0]
    words = normalise_text(text)
    if not words:
        yield field, f"no words in {text!r}"
        return
    other, first = seen.texts.setdefault(words, (group, where))
    if other != group:
        yield field, f"the text {text!r} is of split '{group}' here and of '{other}' at {first}"


def _held_out_findings(
    audio: Mapping[str, Any], style: Mapping[str, str], record: Mapping[str, Any], name: str
) -> Iterator[Finding]:
    if record["split"] not in _SEEN_SPLITS:
        return
    voice = VOICES.get(audio.get("voice", ""))
    if voice is not None and voice.held_out:
        yield f"{name}.audio.voice", f"the held-out voice '{voice.name}' in the split '{record['split']}'"
    composition = tuple(style.get(factor, "") for factor in ("gender", "emotion", "speed", "pitch"))
    if composition in HELD_OUT_STYLES:
        yield f"{name}.style", f"the held-out composition {' '.join(composition)} in the split '{record['split']}'"


def _audio_findings(audio: Mapping[str, Any], folder: Path, name: str) -> Iterator[Finding]:
    try:
        wave, sample_rate = read_audio(folder / audio["path"], MAX_AUDIO_S)
    except MediaError as error:
        yield f"{name}.path", str(error).splitlines()[0]
        return
    if sample_rate != audio["sample_rate"]:
        yield (
            f"{name}.sample_rate",
            f"{audio['sample_rate']} Hz declared, the file {audio['path']} has {sample_rate} Hz",
        )
    seconds = wave.size / sample_rate
    if abs(seconds - audio["duration_s"]) > DURATION_TOLERANCE_S:
        yield f"{name}.duration_s", f"{audio['duration_s']} s declared, the file {audio['path']} lasts {seconds:.4f} s"
    share = float(np.mean(np.abs(wave) >= _FULL_SCALE))
    if share > CLIPPED_SHARE:
        yield f"{name}.path", f"the file {audio['path']} is clipped: {100 * share:.1f} % of its samples at full scale"
    last = 0.0
    for index, (_, start, end) in enumerate(audio.get("phones", ())):
        if start < last - 1e-6 or end < start:
            yield (
                f"{name}.phones[{index}]",
                f"starts at {start} s and ends at {end} s, the phone before ends at {last} s",
            )
            return
        last = end
    if last > seconds + DURATION_TOLERANCE_S:
        yield f"{name}.phones", f"the last phone ends at {last} s, the file lasts {seconds:.4f} s"


def _image_findings(image: Mapping[str, Any], folder: Path, name: str) -> Iterator[Finding]:
    try:
        read_image(folder / image["path"])
    except MediaError as error:
        yield f"{name}.path", str(error).splitlines()[0]
