"""Units of the canonical voice with the styled sound that they should become, for training detokenizers.

Letters: B batch, S samples, K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from torch.utils.data import Dataset

from omnikit.data.buckets import BucketPlan
from omnikit.data.speech_batches import pad_audio
from omnikit.data.timing import TimedPhone, warp_durations
from omnikit.data.units import UnitStore
from omnikit.types import Audio


@dataclass(frozen=True)
class VoiceItem:
    """One parallel pair: the canonical recording (for its units) and the styled one, both with timed phones."""

    source: str
    source_phones: Sequence[TimedPhone]
    target: str
    target_phones: Sequence[TimedPhone]
    duration_s: float
    style: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class VoiceRecordings:
    """A batch: unit codes [B, K, T] and lengths [B], output frames per unit [B, T], target audio [B, S]."""

    codes: torch.Tensor
    lengths: torch.Tensor
    durations: torch.Tensor
    audio: Audio


def voice_items(records: Sequence[Mapping[str, Any]]) -> Iterator[VoiceItem]:
    """The parallel pairs in records of task `voice`."""
    for record in records:
        for message in record["messages"]:
            if "rendering" in message:
                source, target = message["audio"], message["rendering"]["audio"]
                yield VoiceItem(
                    source["path"],
                    source["phones"],
                    target["path"],
                    target["phones"],
                    target["duration_s"],
                    message["rendering"]["style"],
                    message["text"],
                )


class VoiceBatches(Dataset[VoiceRecordings]):
    """Batch number `i` of a training: about `batch_s` seconds of styled speech.

    The target is cut or padded to whole frames of `hop_size` samples, so that durations and samples agree exactly.
    """

    def __init__(
        self,
        root: Path,
        items: Sequence[VoiceItem],
        units: UnitStore,
        *,
        unit_rate: float,
        sample_rate: int,
        hop_size: int,
        batch_s: float,
        num_batches: int,
        seed: int,
        start: int = 0,
    ) -> None:
        self.root, self.items, self.units = Path(root), list(items), units
        self.unit_s, self.sample_rate, self.hop_size = 1 / unit_rate, sample_rate, hop_size
        self.num_batches, self.start = num_batches, start
        self.plan = BucketPlan([item.duration_s for item in self.items], batch_s, seed=seed)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> VoiceRecordings:
        return self.collate([self.items[i] for i in self.plan.batch(index + self.start)])

    def collate(self, items: Sequence[VoiceItem]) -> VoiceRecordings:
        """The batch of these items."""
        rows = [self._row(item) for item in items]
        lengths = torch.tensor([codes.shape[1] for codes, _, _ in rows])
        codes = torch.zeros(len(rows), rows[0][0].shape[0], int(lengths.max()), dtype=torch.long)  # [B, K, T]
        durations = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)  # [B, T]
        for i, (own, frames, _) in enumerate(rows):
            codes[i, :, : own.shape[1]] = torch.from_numpy(own.astype(np.int64))
            durations[i, : len(frames)] = torch.from_numpy(frames)
        return VoiceRecordings(codes, lengths, durations, pad_audio([wave for _, _, wave in rows], self.sample_rate))

    def _row(self, item: VoiceItem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        codes = self.units[item.source]
        wave, rate = soundfile.read(self.root / item.target, dtype="float32")
        if rate != self.sample_rate:
            wave = soxr.resample(wave, rate, self.sample_rate).astype(np.float32)
        num_frames = max(1, round(len(wave) / self.hop_size))
        samples = num_frames * self.hop_size
        wave = np.pad(wave, (0, max(0, samples - len(wave))))[:samples]
        frames = warp_durations(
            item.source_phones,
            item.target_phones,
            codes.shape[1],
            self.unit_s,
            self.hop_size / self.sample_rate,
            num_frames,
        )
        return codes, frames, wave
