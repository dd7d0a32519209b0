"""Utterances with their phones, in batches of similar duration, for training and judging tokenizers.

Letters: B batch, S samples, N phones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from torch.utils.data import Dataset

from omnikit.data.buckets import BucketPlan
from omnikit.data.shares import Share
from omnikit.errors import DataError
from omnikit.types import Audio


@dataclass(frozen=True)
class SpeechBatch:
    """`audio` [B, S]; `phones` [B, N] class indices padded by 0, `phone_lengths` [B]; the `step` it is made for.

    Where several processes share a batch, `rows` are the places of this share's rows in the whole batch; `counts` is
    False for a share that stands in for an empty one.
    """

    audio: Audio
    phones: Tensor
    phone_lengths: Tensor
    step: int
    rows: tuple[int, ...]
    counts: bool = True


@dataclass(frozen=True)
class Perturbation:
    """Training-time changes of a waveform that leave its phones alone.

    `speed` resamples by a factor drawn from [1-speed, 1+speed], moving tempo, pitch and formants together (speed
    perturbation, Ko et al. 2015); `noise` adds white noise at a level drawn from [0, noise] relative to the RMS.
    """

    speed: float = 0.0
    noise: float = 0.0

    def __call__(self, wave: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
        if self.speed > 0:
            factor = rng.uniform(1 - self.speed, 1 + self.speed)
            wave = soxr.resample(wave, sample_rate * factor, sample_rate, quality="QQ")
        if self.noise > 0:
            level = rng.uniform(0, self.noise) * float(np.sqrt(np.mean(wave**2)))
            wave = wave + level * rng.standard_normal(len(wave), dtype=np.float32)
        return wave.astype(np.float32)


def pad_audio(waves: Sequence[np.ndarray], sample_rate: int) -> Audio:
    """Waveforms of different lengths as one zero-padded batch [B, S]."""
    lengths = torch.tensor([len(wave) for wave in waves])
    batch = torch.zeros(len(waves), int(lengths.max()))
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    return Audio(batch, lengths, sample_rate)


class SpeechBatches(Dataset[SpeechBatch]):
    """Batch number `i` of a training: records `items` = (audio path, duration in s, phone indices).

    Batches hold about `batch_s` seconds with their padding. Recordings longer than `crop_s` are cut to that length at a
    place drawn anew each time; their phones then no longer fit, so this is for training without labels. Everything
    drawn for a row is a function of `seed`, step and row. `share` says which rows of every batch this process reads.
    """

    def __init__(
        self,
        root: Path,
        items: Sequence[tuple[str, float, Sequence[int]]],
        *,
        batch_s: float,
        num_batches: int,
        seed: int,
        start: int = 0,
        perturbation: Perturbation | None = None,
        sample_rate: int = 16_000,
        crop_s: float = math.inf,
    ) -> None:
        self.root, self.items, self.seed, self.start = Path(root), list(items), seed, start
        self.num_batches, self.perturbation, self.sample_rate = num_batches, perturbation or Perturbation(), sample_rate
        self.crop_s, self.share = crop_s, Share()
        self.plan = BucketPlan([min(item[1], crop_s) for item in self.items], batch_s, seed=seed)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> SpeechBatch:
        step = index + self.start
        own, counts = self.share.of(self.plan.batch(step).tolist())
        rows = tuple(row for row, _ in own)
        chosen = [self.items[item] for _, item in own]
        waves = [self._wave(path, [self.seed, step, row]) for row, (path, _, _) in zip(rows, chosen, strict=True)]
        lengths = torch.tensor([len(phones) for _, _, phones in chosen])
        phones = torch.zeros(len(chosen), int(lengths.max()), dtype=torch.long)
        for row, (_, _, labels) in zip(phones, chosen, strict=True):
            row[: len(labels)] = torch.as_tensor(labels, dtype=torch.long)
        return SpeechBatch(pad_audio(waves, self.sample_rate), phones, lengths, step, rows, counts)

    def _wave(self, path: str, key: Sequence[int]) -> np.ndarray:
        """The recording [S] at `path`, cut and changed as `key` has it drawn."""
        rng = np.random.default_rng(key)
        wave, rate = soundfile.read(self.root / path, dtype="float32")
        if len(wave) > self.crop_s * rate:
            size = int(self.crop_s * rate)
            first = int(rng.integers(len(wave) - size + 1))
            wave = wave[first : first + size]
        if rate != self.sample_rate:
            wave, rate = soxr.resample(wave, rate, self.sample_rate).astype(np.float32), self.sample_rate
        return self.perturbation(wave, rate, rng)


def phone_items(
    records: Sequence[Mapping[str, Any]],
    index: Mapping[str, int],
    transcribe: Callable[[str], Sequence[str]] | None = None,
) -> list[tuple[str, float, list[int]]]:
    """(path, duration, phone indices) of every message of `records` that has audio and phones, or a text for them.

    `transcribe` gives the phones of a text, e.g. those of a language pack; without it unlabelled audio is left out.
    Raises `DataError` for a phone that `index` does not have.
    """
    found = []
    for record in records:
        for message in record["messages"]:
            for audio in filter(None, (message.get("audio"), message.get("rendering", {}).get("audio"))):
                phones = [phone[0] for phone in audio.get("phones", ())]
                if not phones and transcribe is not None:
                    phones = list(transcribe(message.get("text", "")))
                strange = sorted({phone for phone in phones if phone not in index})
                if strange:
                    raise DataError(
                        f"{audio['path']} has phones that are not among the {len(index)} to learn: {strange[:6]}.\n"
                        "Choose the language pack that its labels were made with (phones of the stage's recipe)."
                    )
                if phones:
                    found.append((audio["path"], audio["duration_s"], [index[phone] for phone in phones]))
    return found


def audio_items(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, list[int]]]:
    """(path, duration, no phones) of every message of `records` that has audio, labelled or not."""
    return [
        (audio["path"], audio["duration_s"], [])
        for record in records
        for message in record["messages"]
        for audio in (message.get("audio"), message.get("rendering", {}).get("audio"))
        if audio
    ]


def within(
    items: Sequence[tuple[str, float, list[int]]], min_s: float = 0.0, max_s: float = math.inf
) -> list[tuple[str, float, list[int]]]:
    """The items whose duration lies in [min_s, max_s]. Raises `DataError` when there are none."""
    found = [item for item in items if min_s <= item[1] <= max_s]
    if not found:
        shown = f"{min(item[1] for item in items):.1f} to {max(item[1] for item in items):.1f} s" if items else "none"
        raise DataError(
            f"No recording lasts between {min_s:g} and {max_s:g} s; the corpus has: {shown}.\n"
            "Change min_s and max_s of the stage's recipe, or name other files."
        )
    return found
