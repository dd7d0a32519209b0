"""Making a whole corpus: plan, shards made in parallel, assembly. Resumable, and the same bytes however it was made.

Every record is a pure function of (seed, kind, split, index); shards of records are the unit of work. A finished shard
is a file that was renamed into place; a run that is taken up again makes only the shards that are missing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnikit.data.espeak import SAMPLE_RATE, Espeak, espeak_version
from omnikit.data.prosody import (
    BASE_RATE_WPM,
    EMOTION_RULES,
    FACTORS,
    HELD_OUT_STYLES,
    PITCH_SEMITONES,
    SPEED_FACTORS,
)
from omnikit.data.questions import COLOR_EMOTIONS, SIZE_PITCHES, SPEED_WORDINGS
from omnikit.data.recipes import ORIGIN, Job, Studio, make_record
from omnikit.data.scenes import HELD_OUT_PAIRS
from omnikit.data.voices import CANONICAL_VOICE, TARGET_VOICES, voices_of
from omnikit.errors import DataError

FORMAT_VERSION = 3
SHARD_SIZE = 64
MAX_HOURS = 10_000.0
CORPUS_FILE = "corpus.json"
_WORK_FOLDER = ".shards"
_PLAN_FILE = "plan.json"

_HOURS_SHARE = {"speech": 0.40, "voice": 0.18, "dialogue": 0.42}
_MEAN_SECONDS = {"speech": 2.5, "voice": 2.5, "dialogue": 6.2}
"""Measured seconds that a record counts: both sides of a dialogue, the styled side of a voice pair."""
_SPLIT_SHARES: dict[str, dict[str, float]] = {
    "speech": {"train": 0.88, "valid": 0.03, "test": 0.05, "test_voice": 0.04},
    "voice": {"train": 0.86, "valid": 0.03, "test": 0.06, "test_style": 0.05},
    "dialogue": {"train": 0.82, "valid": 0.03, "test": 0.05, "test_voice": 0.05, "test_scene": 0.05},
    "caption": {"train": 0.87, "valid": 0.03, "test": 0.05, "test_scene": 0.05},
    "vqa": {"train": 0.92, "valid": 0.02, "test": 0.03, "test_scene": 0.03},
    "reading": {"train": 0.94, "valid": 0.03, "test": 0.03},
}
FILES: tuple[str, ...] = tuple(f"{kind}.{split}" for kind, shares in _SPLIT_SHARES.items() for split in shares)
"""Names of the JSONL files, without their ending."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FileSummary:
    """What one JSONL file holds: records, hours of audio (all of it), different texts."""

    records: int
    hours: float
    texts: int


@dataclass(frozen=True)
class CorpusSummary:
    """A finished corpus: where it is, what it was asked for, what it holds, and the hash over all its files."""

    folder: Path
    seed: int
    hours: float
    files: dict[str, FileSummary]
    content_sha256: str


@dataclass(frozen=True)
class _Shard:
    kind: str
    split: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.split}.{self.number:05d}.jsonl"


def record_counts(hours: float) -> dict[str, int]:
    """How many records each JSONL file of a corpus of `hours` gets; at least two each."""
    totals = {kind: share * hours * 3600.0 / _MEAN_SECONDS[kind] for kind, share in _HOURS_SHARE.items()}
    totals["caption"] = totals["dialogue"]
    totals["vqa"] = 2 * totals["dialogue"]
    totals["reading"] = totals["speech"]
    return {
        f"{kind}.{split}": max(2, round(totals[kind] * share))
        for kind, shares in _SPLIT_SHARES.items()
        for split, share in shares.items()
    }


def _shards(hours: float) -> list[_Shard]:
    shards = []
    for name, count in record_counts(hours).items():
        kind, split = name.split(".")
        for number, start in enumerate(range(0, count, SHARD_SIZE)):
            shards.append(_Shard(kind, split, number, start, min(start + SHARD_SIZE, count)))
    return shards


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is broken: {error}\nDelete the folder {path.parent} and make it anew.") from error


@functools.cache
def _espeak() -> Espeak:
    return Espeak()


def _make_shard(task: tuple[Path, int, _Shard]) -> int:
    """Make the records of one shard and put their lines in place; the number of records."""
    folder, seed, shard = task
    studio = Studio(folder, seed, _espeak())
    jobs = (Job(shard.kind, shard.split, index) for index in range(shard.start, shard.stop))
    lines = [json.dumps(make_record(studio, job), separators=(",", ":")) + "\n" for job in jobs]
    write_text(folder / _WORK_FOLDER / shard.name, "".join(lines))
    return len(lines)


def _ignore_interrupts() -> None:
    """In a worker: Ctrl-C is the parent's business, which lets running shards finish and starts no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(tasks: list[tuple[Path, int, _Shard]], processes: int) -> Iterator[int]:
    """Make the shards, in this process or in several; yields the number of records of each as it is done."""
    if processes == 1:
        yield from map(_make_shard, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupts) as pool:
        futures = [pool.submit(_make_shard, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "A worker process died (out of memory, or killed).\n"
                "Run the same command again, with fewer processes if it repeats: finished parts are kept."
            ) from error
        finally:
            for future in futures:
                future.cancel()


def _start(folder: Path, plan: dict[str, Any]) -> bool:
    """Make `folder` ready for `plan`; True when the corpus is finished. Raises DataError when it is another's."""
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / _WORK_FOLDER
    finished = folder / CORPUS_FILE
    for found in (finished, work / _PLAN_FILE):
        if not found.exists():
            continue
        old = _read_json(found).get("plan", {})
        if old != plan:
            differing = [key for key in plan if old.get(key) != plan[key]]
            raise DataError(
                f"{folder} already holds a corpus made with "
                + ", ".join(f"{key} = {old.get(key)}" for key in differing)
                + ";\nasked for: "
                + ", ".join(f"{key} = {plan[key]}" for key in differing)
                + ".\nGive another folder, or delete this one."
            )
        return found == finished
    if any(folder.iterdir()) and not work.exists():
        raise DataError(f"{folder} is not empty and holds no corpus.\nGive a new or empty folder.")
    work.mkdir(exist_ok=True)
    write_text(work / _PLAN_FILE, json.dumps({"plan": plan}))
    return False


def make_corpus(
    out: str | os.PathLike[str],
    hours: float,
    seed: int,
    processes: int | None = None,
    progress: Progress | None = None,
) -> CorpusSummary:
    """Make a corpus of about `hours` hours of speech under `out`, or go on with one that was interrupted.

    Hours count speech, both sides of dialogues, and the styled side of voice pairs; the canonical side comes on top.
    `progress` is called with (records done, records in all). The bytes depend on `hours` and `seed` only, not on
    `processes` (all cores when None). With several processes, call it under `if __name__ == "__main__"`.
    Raises DataError for hours or processes out of range, and for a folder that holds something else.
    """
    if not 0 < hours <= MAX_HOURS:
        raise DataError(f"Cannot make {hours} hours of corpus: more than 0 and at most {MAX_HOURS:g} are accepted.")
    processes = processes if processes is not None else os.cpu_count() or 1
    if processes < 1:
        raise DataError(f"Cannot work with {processes} processes: at least 1 is needed.")
    folder = Path(out)
    plan = {"format": FORMAT_VERSION, "seed": seed, "hours": float(hours), "espeak_ng": espeak_version()}
    if _start(folder, plan):
        return read_summary(folder)
    shards = _shards(hours)
    missing = [shard for shard in shards if not (folder / _WORK_FOLDER / shard.name).exists()]
    total = sum(shard.stop - shard.start for shard in shards)
    done = total - sum(shard.stop - shard.start for shard in missing)
    tasks = [(folder, seed, shard) for shard in missing]
    for count in _run(tasks, min(processes, max(len(tasks), 1))):
        done += count
        if progress is not None:
            progress(done, total)
    return _assemble(folder, plan, shards)


def _assemble(folder: Path, plan: dict[str, Any], shards: list[_Shard]) -> CorpusSummary:
    """Join the shards, count, hash, and write `corpus.json` last: a folder with that file is a finished corpus."""
    texts: dict[str, list[str]] = {}
    for shard in shards:
        lines = (folder / _WORK_FOLDER / shard.name).read_text(encoding="utf-8")
        texts.setdefault(f"{shard.kind}.{shard.split}", []).append(lines)
    files = {}
    for name, parts in texts.items():
        whole = "".join(parts)
        write_text(folder / f"{name}.jsonl", whole)
        files[name] = _summarise(whole)
    digest = content_hash(folder)
    about = {
        "plan": plan,
        "origin": ORIGIN,
        "content_sha256": digest,
        "files": {name: asdict(summary) for name, summary in files.items()},
        "rules": corpus_rules(),
    }
    write_text(folder / CORPUS_FILE, json.dumps(about, indent=1) + "\n")
    shutil.rmtree(folder / _WORK_FOLDER)
    return CorpusSummary(folder, plan["seed"], plan["hours"], files, digest)


def _summarise(lines: str) -> FileSummary:
    records = [json.loads(line) for line in lines.splitlines()]
    seconds = 0.0
    texts = set()
    for record in records:
        for message in record["messages"]:
            seconds += message.get("audio", {}).get("duration_s", 0.0)
            seconds += message.get("rendering", {}).get("audio", {}).get("duration_s", 0.0)
            if "text" in message:
                texts.add(message["text"])
    return FileSummary(len(records), round(seconds / 3600.0, 4), len(texts))


def content_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of all JSONL, audio and image files of a corpus, in the order of their names."""
    digest = hashlib.sha256()
    paths = [path for pattern in ("*.jsonl", "audio/*/*.flac", "images/*.png") for path in folder.glob(pattern)]
    for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_summary(folder: str | os.PathLike[str]) -> CorpusSummary:
    """The summary of a finished corpus from its `corpus.json`; raises DataError when there is none."""
    path = Path(folder) / CORPUS_FILE
    if not path.exists():
        raise DataError(f"{folder} holds no finished corpus: there is no {CORPUS_FILE}.\nMake one: omnikit data make")
    about = _read_json(path)
    files = {name: FileSummary(**values) for name, values in about["files"].items()}
    plan = about["plan"]
    return CorpusSummary(Path(folder), plan["seed"], plan["hours"], files, about["content_sha256"])


def corpus_rules() -> dict[str, Any]:
    """All rules that made the corpus, as plain data for `corpus.json`."""
    genders = FACTORS["gender"]
    return {
        "sample_rate": SAMPLE_RATE,
        "factors": FACTORS,
        "base_rate_wpm": BASE_RATE_WPM,
        "emotions": {name: asdict(rule) for name, rule in EMOTION_RULES.items()},
        "speed_rate_factors": SPEED_FACTORS,
        "pitch_semitones": PITCH_SEMITONES,
        "canonical_voice": CANONICAL_VOICE,
        "target_voices": TARGET_VOICES,
        "train_voices": {gender: voices_of(gender) for gender in genders},
        "held_out_voices": {gender: voices_of(gender, held_out=True) for gender in genders},
        "held_out_styles": sorted(HELD_OUT_STYLES),
        "held_out_pairs": sorted(HELD_OUT_PAIRS),
        "reply_style": {"color": COLOR_EMOTIONS, "size": SIZE_PITCHES, "wording": SPEED_WORDINGS},
    }
