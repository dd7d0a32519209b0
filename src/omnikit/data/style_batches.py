"""Style vectors with their labels and a description in words, for training style modules.

Letters: B batch, N examples, D style width.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Dataset

from omnikit.data.style_texts import describe_style


@dataclass(frozen=True)
class StyleBatch:
    """Vectors [B, D], the labels of each, a description of each, and the number of the step."""

    vectors: Tensor
    labels: tuple[Mapping[str, str], ...]
    texts: tuple[str, ...]
    step: int


class StyleBatches(Dataset[StyleBatch]):
    """Batch number `i` of a training: `batch_size` examples drawn from [N, D], each described anew.

    The draw of a batch depends on the seed and its number alone, so that a training can go on from any of them.
    """

    def __init__(
        self,
        vectors: Tensor,
        labels: Sequence[Mapping[str, str]],
        *,
        batch_size: int,
        num_batches: int,
        seed: int,
        start: int = 0,
        held_out: bool = False,
    ) -> None:
        self.vectors, self.labels = vectors, list(labels)
        self.batch_size, self.num_batches, self.seed, self.start = batch_size, num_batches, seed, start
        self.held_out = held_out

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> StyleBatch:
        step = index + self.start
        rng = random.Random(f"styles/{self.seed}/{step}")
        chosen = [rng.randrange(len(self.labels)) for _ in range(self.batch_size)]
        labels = tuple(self.labels[row] for row in chosen)
        texts = tuple(describe_style(row, rng, self.held_out) for row in labels)
        return StyleBatch(self.vectors[chosen], labels, texts, step)
