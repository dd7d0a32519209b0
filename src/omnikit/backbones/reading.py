"""What a model has read: a batch of sequences that grows position by position, and can be cut back.

Letters: B batch, L new positions, P positions before them, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Reader(ABC):
    """A model that reads embeddings. Readers are equal where they read alike."""

    @abstractmethod
    def begin(self) -> Reading:
        """An empty page."""


class Reading(ABC):
    """What a `reader` has read of one batch."""

    reader: Reader

    @abstractmethod
    def read(self, embeds: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        """Hidden states [B, L, W] of the embeddings [B, L, W] that follow, at the positions `places` [B, L].

        `mask` [B, P + L] is 0 at padding, which nothing may look at; None where there is none.
        """

    @abstractmethod
    def cut(self, length: int) -> bool:
        """Forget all but the first positions. False where earlier ones are gone already; then nothing is kept."""


@dataclass(frozen=True)
class ModelReader(Reader):
    """Any decoder of transformers, as it reads by itself."""

    model: nn.Module

    def begin(self) -> Reading:
        return _ModelReading(self)


class _ModelReading(Reading):
    def __init__(self, reader: ModelReader) -> None:
        from transformers import DynamicCache

        self.reader: ModelReader = reader
        self.cache: Any = DynamicCache(config=reader.model.config)
        self.length = 0

    def read(self, embeds: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        self.length += embeds.shape[1]
        return self.reader.model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=places,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state

    def cut(self, length: int) -> bool:
        if any(getattr(layer, "is_sliding", False) for layer in self.cache.layers):
            return False
        self.cache.crop(length - self.length)  # so many from the end
        self.length = length
        return True


@dataclass
class Kept:
    """A reading of one sequence, and what it read: `embeds` [P, W] in reading order."""

    reading: Reading
    embeds: Tensor

    def common(self, embeds: Tensor) -> int:
        """Positions at the beginning of [L, W] that were read; never its last one: something must be read."""
        length = min(len(self.embeds), len(embeds) - 1)
        same = (self.embeds[:length].to(embeds) == embeds[:length]).all(1)  # [L]
        return int(same.long().cumprod(0).sum())

    def cut(self, length: int) -> bool:
        """Forget all but the first positions; False where that cannot be."""
        self.embeds = self.embeds[:length]
        return self.reading.cut(length)

    def add(self, embeds: Tensor) -> None:
        """Note that [L, W] was read after the rest."""
        self.embeds = torch.cat([self.embeds, embeds])
