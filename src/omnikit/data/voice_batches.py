"""Units of the canonical voice with the styled sound that they should become, for training detokenizers.

Letters: B batch, S samples, K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from torch.utils.data import Dataset

from omnikit.data.buckets import BucketPlan
from omnikit.data.shares import Share
from omnikit.data.speech_batches import pad_audio
from omnikit.data.timing import TimedPhone, warp_durations
from omnikit.data.units import UnitStore
from omnikit.types import Audio, Style


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
class ToldStyles:
    """Style vectors that are known beforehand: path of a recording → [G] float32, of the space `space_id`."""

    vectors: Mapping[str, np.ndarray]
    space_id: str

    def of(self, paths: Sequence[str]) -> Style:
        """The vectors [B, G] of these recordings."""
        rows = np.stack([self.vectors[path] for path in paths])
        return Style(vector=torch.from_numpy(rows), space_id=self.space_id)


@dataclass(frozen=True)
class VoiceRecordings:
    """A batch: unit codes [B, K, T] and lengths [B], output frames per unit [B, T], target audio [B, S].

    `durations` is None for units off the clock. Where several processes share a batch, `rows` are the places of this
    share's rows in the whole batch (None: they are the batch); `counts` is False for a share that stands in for an
    empty one. `styles` are the labels of every row, `told` its style vectors [B, G] where they come from outside.
    """

    codes: torch.Tensor
    lengths: torch.Tensor
    durations: torch.Tensor | None
    audio: Audio
    rows: tuple[int, ...] | None = None
    counts: bool = True
    styles: tuple[Mapping[str, str], ...] = ()
    told: Style | None = None


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
    `unit_rate` is the clock of the units in Hz; None where runs of equal units were merged, whose lengths then are for
    the model to find. `share` says which rows of every batch this process reads; `told` has the style vectors of all
    targets, for a voice that does not hear them itself.
    """

    def __init__(
        self,
        root: Path,
        items: Sequence[VoiceItem],
        units: UnitStore,
        *,
        unit_rate: float | None,
        sample_rate: int,
        hop_size: int,
        batch_s: float,
        num_batches: int,
        seed: int,
        start: int = 0,
        told: ToldStyles | None = None,
    ) -> None:
        self.root, self.items, self.units = Path(root), list(items), units
        self.unit_s = 1 / unit_rate if unit_rate else None
        self.sample_rate, self.hop_size = sample_rate, hop_size
        self.num_batches, self.start, self.share, self.told = num_batches, start, Share(), told
        self.plan = BucketPlan([item.duration_s for item in self.items], batch_s, seed=seed)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> VoiceRecordings:
        own, counts = self.share.of(self.plan.batch(index + self.start).tolist())
        batch = self.collate([self.items[item] for _, item in own])
        return replace(batch, rows=tuple(row for row, _ in own), counts=counts)

    def collate(self, items: Sequence[VoiceItem]) -> VoiceRecordings:
        """The batch of these items."""
        rows = [self._row(item) for item in items]
        lengths = torch.tensor([codes.shape[1] for codes, _, _ in rows])
        codes = torch.zeros(len(rows), rows[0][0].shape[0], int(lengths.max()), dtype=torch.long)  # [B, K, T]
        durations = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)  # [B, T]
        for i, (own, frames, _) in enumerate(rows):
            codes[i, :, : own.shape[1]] = torch.from_numpy(own.astype(np.int64))
            if frames is not None:
                durations[i, : len(frames)] = torch.from_numpy(frames)
        audio = pad_audio([wave for _, _, wave in rows], self.sample_rate)
        styles = tuple(item.style for item in items)
        told = None if self.told is None else self.told.of([item.target for item in items])
        return VoiceRecordings(
            codes, lengths, None if self.unit_s is None else durations, audio, styles=styles, told=told
        )

    def _row(self, item: VoiceItem) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Codes [K, T], frames of every unit [T] and the target [S]."""
        codes = self.units[item.source]
        wave, rate = soundfile.read(self.root / item.target, dtype="float32")
        if rate != self.sample_rate:
            wave = soxr.resample(wave, rate, self.sample_rate).astype(np.float32)
        num_frames = max(1, round(len(wave) / self.hop_size))
        samples = num_frames * self.hop_size
        wave = np.pad(wave, (0, max(0, samples - len(wave))))[:samples]
        if self.unit_s is None:
            return codes, None, wave
        frames = warp_durations(
            item.source_phones,
            item.target_phones,
            codes.shape[1],
            self.unit_s,
            self.hop_size / self.sample_rate,
            num_frames,
        )
        return codes, frames, wave
