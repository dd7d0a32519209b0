"""Recordings with the labels of their style, in batches of similar duration.

Letters: B batch, S samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from omnikit.data.buckets import BucketPlan
from omnikit.data.media import load_audio
from omnikit.data.speech_batches import pad_audio
from omnikit.errors import DataError
from omnikit.types import Audio


@dataclass(frozen=True)
class ToneItem:
    """A recording by its path, how long it lasts, and the labels of its style."""

    path: str
    seconds: float
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ToneBatch:
    """`audio` [B, S] and the labels of every row."""

    audio: Audio
    labels: tuple[Mapping[str, str], ...]


def tone_items(records: Iterable[Mapping[str, Any]]) -> list[ToneItem]:
    """Every recording of a user that has style labels. Raises `DataError` where there is none."""
    found = [
        ToneItem(message["audio"]["path"], message["audio"]["duration_s"], message["style"])
        for record in records
        for message in record["messages"]
        if message["role"] == "user" and "audio" in message and message.get("style")
    ]
    if not found:
        raise DataError("No recording of a user has style labels; name files that have them (stage.settings.files).")
    return found


class ToneBatches(Dataset[ToneBatch]):
    """Batch number `i` of a training: about `batch_s` seconds with padding, a function of seed and step alone."""

    def __init__(
        self,
        root: Path,
        items: Sequence[ToneItem],
        *,
        batch_s: float,
        sample_rate: int,
        num_batches: int,
        seed: int,
        start: int = 0,
    ) -> None:
        self.root, self.items, self.sample_rate = Path(root), list(items), sample_rate
        self.num_batches, self.start = num_batches, start
        self.plan = BucketPlan([item.seconds for item in self.items], batch_s, seed=seed)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> ToneBatch:
        chosen = [self.items[row] for row in self.plan.batch(index + self.start)]
        waves = [load_audio(self.root / item.path, self.sample_rate).wave[0].numpy() for item in chosen]
        return ToneBatch(pad_audio(waves, self.sample_rate), tuple(item.labels for item in chosen))
