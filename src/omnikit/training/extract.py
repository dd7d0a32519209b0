"""What stages read off a corpus: its records, and units by a trained tokenizer, once for each vocabulary."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from omnikit.data.records import read_records
from omnikit.data.speech_batches import pad_audio
from omnikit.data.units import UnitStore
from omnikit.slots.tokenizer import SpeechTokenizer


def records_of(corpus: Path, *names: str) -> list[Mapping[str, Any]]:
    """All records of these files of a corpus, e.g. `speech.train`."""
    return [record for name in names for record in read_records(corpus / f"{name}.jsonl")]


def extract_units(
    tokenizer: SpeechTokenizer, corpus: Path, audio: Mapping[str, float], *, batch_s: float = 60.0
) -> UnitStore:
    """The unit store of `tokenizer` holding every path of `audio` (path → duration in s); nothing is done twice."""
    store = UnitStore(corpus, tokenizer.vocab_id)
    todo = sorted(store.missing(list(audio)), key=lambda path: (audio[path], path))
    if not todo:
        return store
    print(f"extracting units of {len(todo)} recordings with {tokenizer.vocab_id}", file=sys.stderr, flush=True)
    tokenizer.eval()
    found: dict[str, np.ndarray] = {}
    batch: list[str] = []
    for path in [*todo, None]:
        if path is not None and (len(batch) + 1) * audio[path] <= batch_s:
            batch.append(path)
            continue
        if batch:
            found.update(_encode(tokenizer, corpus, batch))
        batch = [path] if path is not None else []
    store.add(found)
    return store


def audio_of(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Path → duration of every message's own audio (not of styled renderings)."""
    return {
        message["audio"]["path"]: message["audio"]["duration_s"]
        for record in records
        for message in record["messages"]
        if "audio" in message
    }


def _encode(tokenizer: SpeechTokenizer, corpus: Path, paths: Sequence[str]) -> dict[str, np.ndarray]:
    waves = [soundfile.read(corpus / path, dtype="float32") for path in paths]
    with torch.inference_mode():
        units = tokenizer.encode(pad_audio([wave for wave, _ in waves], waves[0][1]))
    return {
        path: codes[:, : int(length)].cpu().numpy()
        for path, codes, length in zip(paths, units.codes, units.lengths, strict=True)
    }
