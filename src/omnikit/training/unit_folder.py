"""Recordings → a folder of units: in length buckets, resumable, with every file that cannot be used listed.

The work is cut into pieces that depend on the recordings alone. A finished piece is a file that was renamed into place,
so an interrupted run goes on behind it and ends with the same bytes.

Letters: K codebooks, T units, N recordings.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from safetensors import safe_open
from safetensors.numpy import save_file

from omnikit.contracts import AudioPort, UnitsPort
from omnikit.data.buckets import length_batches
from omnikit.data.corpus import write_text
from omnikit.data.media import audio_duration, read_audio
from omnikit.data.units import write_units
from omnikit.errors import DataError, OmnikitError
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.training.extract import encode_waves

CARD, FAILURES = "units.json", "failures.jsonl"
BATCH_S = 30.0
PIECE_S = 600.0
_WORK, _PLAN = ".pieces", "plan.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class UnitFolder:
    """A finished folder: how many recordings have units, how many units, their seconds, path → reason of the rest."""

    folder: Path
    num_recordings: int
    num_units: int
    seconds: float
    failures: Mapping[str, str]


def extract_folder(
    tokenizer: SpeechTokenizer,
    root: Path,
    paths: Iterable[str],
    out: Path,
    *,
    max_s: float,
    progress: Progress = lambda done, total: None,
) -> UnitFolder:
    """Write the units of the recordings `paths` (relative to `root`) into the folder `out`, or go on with it.

    `progress` is told (recordings done, in all). A file that cannot be used (missing, broken, silent, longer than
    `max_s` …) is left out and listed. Raises `DataError` for a folder that holds something else, or the units of other
    recordings or of another tokenizer, and when no recording can be used.
    """
    names = sorted(set(paths))
    plan, lengths, failures = _plan(tokenizer, root, names, max_s)
    if _start(out, plan):
        return _read(out)
    usable = [name for name in names if name in lengths]
    pieces = _pieces([lengths[name] for name in usable])
    done = len(failures)
    for number, batches in enumerate(pieces):
        target = out / _WORK / f"{number:06d}.safetensors"
        if not target.exists():
            _make_piece(tokenizer, root, [[usable[index] for index in batch] for batch in batches], target, max_s)
        done += sum(map(len, batches))
        progress(done, len(names))
    return _assemble(out, plan, lengths, failures, len(pieces))


def _plan(
    tokenizer: SpeechTokenizer, root: Path, names: Sequence[str], max_s: float
) -> tuple[dict[str, Any], dict[str, float], dict[str, str]]:
    """What identifies a run, the seconds of every recording whose header can be read, and why others cannot."""
    lengths: dict[str, float] = {}
    failures: dict[str, str] = {}
    digest = hashlib.sha256()
    for name in names:
        try:
            lengths[name] = audio_duration(root / name)[0]
            size = (root / name).stat().st_size
        except OmnikitError as error:
            failures[name] = str(error)
            size = -1
        digest.update(f"{name}\0{size}\n".encode())
    units = tokenizer.contract(**tokenizer.parameters_given).gives["units"]
    assert isinstance(units, UnitsPort)  # the slot's promise
    plan = {
        "vocab_id": tokenizer.vocab_id,
        "codebooks": list(units.codebooks),
        "rate": str(units.rate),
        "layout": units.layout,
        "precision": str(tokenizer.precision).removeprefix("torch."),
        "max_seconds": max_s,
        "recordings": digest.hexdigest(),
    }
    return plan, lengths, failures


def _start(out: Path, plan: Mapping[str, Any]) -> bool:
    """Make `out` ready; True when it is finished. Raises `DataError` when it belongs to another run."""
    for found in (out / CARD, out / _WORK / _PLAN):
        if not found.exists():
            continue
        old = json.loads(found.read_text(encoding="utf-8"))["plan"]
        changed = [name for name in plan if old.get(name) != plan[name]]
        if changed:
            raise DataError(
                f"{out} holds units made with other {', '.join(changed)}:\n"
                f"  there {', '.join(str(old.get(name)) for name in changed)}\n"
                f"  asked {', '.join(str(plan[name]) for name in changed)}\n"
                "Give another folder, or delete this one."
            )
        return found.name == CARD
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty and holds no units. Give a new or empty folder.")
    (out / _WORK).mkdir(parents=True, exist_ok=True)
    write_text(out / _WORK / _PLAN, json.dumps({"plan": plan}))
    return False


def _pieces(lengths: Sequence[float]) -> list[list[list[int]]]:
    """Length batches in pieces of about `PIECE_S` padded seconds."""
    pieces: list[list[list[int]]] = []
    filled = PIECE_S
    for batch in length_batches(lengths, BATCH_S):
        if filled >= PIECE_S:
            pieces.append([])
            filled = 0.0
        pieces[-1].append(batch)
        filled += len(batch) * lengths[batch[-1]]
    return pieces


def _make_piece(
    tokenizer: SpeechTokenizer, root: Path, batches: Sequence[Sequence[str]], target: Path, max_s: float
) -> None:
    """Encode some batches and put their units, and the reasons of those that have none, in place."""
    ear = tokenizer.contract(**tokenizer.parameters_given).needs["audio"]
    assert isinstance(ear, AudioPort)  # the slot's promise
    rate = int(ear.sample_rate)
    rows: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    failures: dict[str, str] = {}
    for batch in batches:
        waves = {}
        for name in batch:
            try:
                wave, own_rate = read_audio(root / name, max_s)
            except OmnikitError as error:
                failures[name] = str(error)
                continue
            waves[name] = wave if own_rate == rate else soxr.resample(wave, own_rate, rate).astype(np.float32)
        if waves:
            rows.update(_encode(tokenizer, waves, rate, failures))
    arrays = {}
    for number, (codes, durations) in enumerate(rows.values()):
        arrays[f"codes.{number}"] = np.ascontiguousarray(codes)
        if durations is not None:
            arrays[f"durations.{number}"] = durations
    part = target.with_suffix(".part")
    save_file(arrays, part, metadata={"rows": json.dumps(list(rows)), "failures": json.dumps(failures)})
    os.replace(part, target)


def _encode(
    tokenizer: SpeechTokenizer, waves: Mapping[str, np.ndarray], rate: int, failures: dict[str, str]
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Units of a batch; where the tokenizer refuses it, of its rows one by one, so that the right file is named."""
    try:
        return dict(zip(waves, encode_waves(tokenizer, list(waves.values()), rate), strict=True))
    except OmnikitError as error:
        if len(waves) == 1:
            failures[next(iter(waves))] = str(error)
            return {}
    rows: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for name, wave in waves.items():
        rows.update(_encode(tokenizer, {name: wave}, rate, failures))
    return rows


def _assemble(
    out: Path, plan: Mapping[str, Any], lengths: Mapping[str, float], failures: dict[str, str], num_pieces: int
) -> UnitFolder:
    """Join the pieces in the order of paths; the card comes last: a folder with one is finished."""
    codes: dict[str, np.ndarray] = {}
    durations: dict[str, np.ndarray] = {}
    for number in range(num_pieces):
        with safe_open(out / _WORK / f"{number:06d}.safetensors", framework="numpy") as piece:
            about = piece.metadata()
            failures |= json.loads(about["failures"])
            stored = set(piece.keys())
            for row, name in enumerate(json.loads(about["rows"])):
                codes[name] = piece.get_tensor(f"codes.{row}")
                if f"durations.{row}" in stored:
                    durations[name] = piece.get_tensor(f"durations.{row}")
    if not codes:
        name, reason = next(iter(failures.items()))
        raise DataError(f"None of the {len(failures)} recordings can be used; the first, {name}:\n{reason}")
    names = sorted(codes)
    lasting = [durations[name] for name in names] if durations else None
    write_units(out, names, [codes[name] for name in names], lasting)
    lines = [json.dumps({"path": name, "reason": failures[name]}) + "\n" for name in sorted(failures)]
    write_text(out / FAILURES, "".join(lines))
    card = {
        "plan": plan,
        "num_recordings": len(names),
        "num_units": sum(codes[name].shape[1] for name in names),
        "seconds": round(sum(lengths[name] for name in names), 3),
        "num_failures": len(failures),
    }
    write_text(out / CARD, json.dumps(card, indent=1) + "\n")
    shutil.rmtree(out / _WORK)
    return _read(out)


def _read(out: Path) -> UnitFolder:
    card = json.loads((out / CARD).read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (out / FAILURES).read_text(encoding="utf-8").splitlines()]
    failures = {line["path"]: line["reason"] for line in lines}
    return UnitFolder(out, card["num_recordings"], card["num_units"], card["seconds"], failures)
