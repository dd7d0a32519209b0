"""What stages read off a corpus: its records, and units by a trained tokenizer, once for each vocabulary."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

from omnikit.contracts import AudioPort
from omnikit.data.buckets import length_batches
from omnikit.data.locks import locked
from omnikit.data.records import read_records
from omnikit.data.speech_batches import pad_audio
from omnikit.data.units import UnitStore
from omnikit.errors import DataError
from omnikit.slots.tokenizer import SpeechTokenizer


def records_of(corpus: Path, *names: str) -> list[Mapping[str, Any]]:
    """All records of these files of a corpus, e.g. `speech.train`."""
    return [record for name in names for record in read_records(corpus / f"{name}.jsonl")]


def extract_units(
    tokenizer: SpeechTokenizer, corpus: Path, audio: Mapping[str, float], *, batch_s: float = 60.0
) -> UnitStore:
    """The unit store of `tokenizer` holding every path of `audio` (path → duration in s); nothing is done twice."""
    store = UnitStore(corpus, tokenizer.vocab_id)
    if not store.missing(list(audio)):
        return store
    with locked(store.folder.with_name(f"{tokenizer.vocab_id}.lock")):  # several runs may want the same units
        store = UnitStore(corpus, tokenizer.vocab_id)
        todo = sorted(store.missing(list(audio)))
        if not todo:
            return store
        print(f"extracting units of {len(todo)} recordings with {tokenizer.vocab_id}", file=sys.stderr, flush=True)
        port = tokenizer.contract(**tokenizer.parameters_given).needs["audio"]
        assert isinstance(port, AudioPort)  # the slot's promise
        rate = int(port.sample_rate)
        found: dict[str, np.ndarray] = {}
        for batch in length_batches([audio[path] for path in todo], batch_s):
            paths = [todo[index] for index in batch]
            waves = [_wave(corpus / path, rate) for path in paths]
            rows = encode_waves(tokenizer, waves, rate)
            found.update({path: codes for path, (codes, _) in zip(paths, rows, strict=True)})
        store.add(found)
    return store


def _wave(path: Path, rate: int) -> np.ndarray:
    """A recording [S] at `rate` Hz, resampled where it has another one."""
    wave, own = soundfile.read(path, dtype="float32")
    return wave if own == rate else soxr.resample(wave, own, rate).astype(np.float32)


def encode_waves(
    tokenizer: SpeechTokenizer, waves: Sequence[np.ndarray], sample_rate: int
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Codes [K, T] int32 of every wave [S], and how many frames each step lasts, [T] int32, where runs are merged."""
    with torch.inference_mode():
        batch, device = pad_audio(waves, sample_rate), tokenizer.device
        audio = replace(batch, wave=batch.wave.to(device), lengths=batch.lengths.to(device))
        units = tokenizer.eval().encode(audio)
    rows = []
    for row, length in enumerate(units.lengths.tolist()):
        codes = units.codes[row, :, :length].cpu().numpy().astype(np.int32)
        durations = None if units.durations is None else units.durations[row, :length].cpu().numpy().astype(np.int32)
        rows.append((codes, durations))
    return rows


def audio_of(records: Sequence[Mapping[str, Any]], renderings: bool = False) -> dict[str, float]:
    """Path → duration of every message's own audio and, where wanted, of its styled renderings."""
    return {
        holder["audio"]["path"]: holder["audio"]["duration_s"]
        for record in records
        for message in record["messages"]
        for holder in (message, message.get("rendering", {}) if renderings else {})
        if "audio" in holder
    }


def recordings_of(corpus: Path) -> list[str]:
    """The path of every recording, styled renderings too, that the JSONL files of a folder name, in order."""
    files = sorted(corpus.glob("*.jsonl"))
    if not files:
        raise DataError(f"{corpus} holds no *.jsonl file; for a folder of recordings, give --audio.")
    found: dict[str, None] = {}
    for file in files:
        for record in read_records(file, validate=False):
            for message in record["messages"]:
                for audio in (message.get("audio"), message.get("rendering", {}).get("audio")):
                    if audio:
                        found[audio["path"]] = None
    return list(found)
