"""Utterances with their phones, in batches of similar duration, for training and judging tokenizers.

Letters: B batch, S samples, N phones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from omnikit.types import Audio


@dataclass(frozen=True)
class SpeechBatch:
    """`audio` [B, S]; `phones` [B, N] class indices padded by 0, `phone_lengths` [B]."""

    audio: Audio
    phones: Tensor
    phone_lengths: Tensor


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
    """Batch number `i` of a training: records `items` = (audio path, duration in s, phone indices)."""

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
    ) -> None:
        self.root, self.items, self.seed, self.start = Path(root), list(items), seed, start
        self.num_batches, self.perturbation, self.sample_rate = num_batches, perturbation or Perturbation(), sample_rate
        self.plan = BucketPlan([item[1] for item in self.items], batch_s, seed=seed)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> SpeechBatch:
        step = index + self.start
        rng = np.random.default_rng([self.seed, step])
        chosen = [self.items[i] for i in self.plan.batch(step)]
        waves = []
        for path, _, _ in chosen:
            wave, rate = soundfile.read(self.root / path, dtype="float32")
            waves.append(self.perturbation(wave, rate, rng))
        lengths = torch.tensor([len(phones) for _, _, phones in chosen])
        phones = torch.zeros(len(chosen), int(lengths.max()), dtype=torch.long)
        for row, (_, _, own) in zip(phones, chosen, strict=True):
            row[: len(own)] = torch.as_tensor(own, dtype=torch.long)
        return SpeechBatch(pad_audio(waves, self.sample_rate), phones, lengths)


def phone_items(records: Sequence[Mapping[str, Any]], index: Mapping[str, int]) -> list[tuple[str, float, list[int]]]:
    """(path, duration, phone indices) of every message of `records` that has labelled audio."""
    found = []
    for record in records:
        for message in record["messages"]:
            for audio in (message.get("audio"), message.get("rendering", {}).get("audio")):
                if audio and audio.get("phones"):
                    found.append((audio["path"], audio["duration_s"], [index[phone[0]] for phone in audio["phones"]]))
    return found
