"""Writing token after token: one step of a model on a batch, what it has read already, and text while it grows.

Letters: B batch, L positions, W width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnikit.backbones.pens import Pen
from omnikit.backbones.unit_vocabulary import UnitVocabulary
from omnikit.slots.backbone import Memory


@dataclass
class Kept:
    """A cache of transformers, and what it was made of: `embeds` [L, W] in reading order."""

    cache: Any
    embeds: Tensor

    def common(self, embeds: Tensor) -> int:
        """Positions at the beginning of [L, W] that are in the cache; never its last one: something must be read."""
        length = min(len(self.embeds), len(embeds) - 1)
        same = (self.embeds[:length].to(embeds) == embeds[:length]).all(1)  # [L]
        return int(same.long().cumprod(0).sum())

    def cut(self, length: int) -> bool:
        """Forget all but the first positions. False where a layer has thrown earlier ones away (sliding windows)."""
        if any(getattr(layer, "is_sliding", False) for layer in self.cache.layers):
            return False
        self.cache.crop(length - len(self.embeds))  # so many from the end
        self.embeds = self.embeds[:length]
        return True

    def add(self, embeds: Tensor) -> None:
        """Note that [L, W] was read after the rest."""
        self.embeds = torch.cat([self.embeds, embeds])


@dataclass(frozen=True)
class Writer:
    """A model that reads embeddings [B, L, W], gives logits [B, V] of a hidden state, and the id that ends a reply."""

    model: nn.Module
    logits: Callable[[Tensor], Tensor]
    end: int

    def write(
        self,
        embeds: Tensor,
        pads: Tensor,
        *,
        generator: torch.Generator,
        max_new_tokens: int,
        temperature: float,
        pen: Pen,
        memory: Memory | None,
    ) -> Iterator[list[list[int]]]:
        """What is told of each position after prompts [B, L, W] with `pads` [B] before them, until all have ended.

        `pen` says which tokens may come and what is read of those that do; `memory` is of a single prompt.
        """
        from transformers import DynamicCache

        mask = (torch.arange(embeds.shape[1], device=embeds.device) >= pads.unsqueeze(1)).long()  # [B, L]
        padded = bool(pads.any())
        places = (mask.cumsum(1) - 1).clamp(min=0)  # [B, L]
        kept = Kept(DynamicCache(config=self.model.config), embeds[0, :0])
        if memory is not None:
            assert len(pads) == 1, "a memory is of one conversation"
            known = 0 if memory.kept is None else memory.kept.common(embeds[0])
            known = max(min(known, embeds.shape[1] - pen.reach), 0)
            known = known if known and memory.kept.cut(known) else 0
            if known:
                kept, embeds, places = memory.kept, embeds[:, known:], places[:, known:]
            memory.kept, memory.reused = kept, known
        is_open = torch.ones(len(pads), dtype=torch.bool, device=embeds.device)
        for left in range(max_new_tokens, 0, -1):
            hidden = self.model(
                inputs_embeds=embeds,
                attention_mask=mask if padded else None,
                position_ids=places,
                past_key_values=kept.cache,
                use_cache=True,
            ).last_hidden_state
            if memory is not None:
                kept.add(embeds[0])
            if left == max_new_tokens:
                pen.start(hidden)
            logits = self.logits(hidden[:, -1]).float()  # [B, V]
            allowed = pen.allowed(left)
            if allowed is not None:
                logits = logits.masked_fill(~allowed.to(logits.device), -torch.inf)
            chosen = torch.where(is_open, choose(logits, temperature, generator), self.end)  # [B]
            told, following = pen.put(hidden[:, -1], chosen)
            yield told
            is_open &= chosen != self.end
            if not is_open.any():
                return
            embeds = following.unsqueeze(1)  # [B, 1, W]
            mask = F.pad(mask, (0, 1), value=1)
            places = places[:, -1:] + 1


def choose(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """The next token [B] from logits [B, V]; the draw is made on the generator's device."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    chances = (logits / temperature).softmax(dim=-1).to(generator.device)
    return torch.multinomial(chances, 1, generator=generator).squeeze(1).to(logits.device)


def spelled(tokens: Iterable[int], decode: Callable[[list[int]], str], units: UnitVocabulary) -> Iterator[str]:
    """The text of tokens while they come, in whole characters; a unit is spelled at once."""
    run: list[int] = []  # text tokens since the last unit
    given = 0
    for index in tokens:
        if index in units:
            yield decode(run)[given:] + units.spell(index)
            run, given = [], 0
            continue
        run.append(index)
        text = decode(run)
        whole = len(text.rstrip("\ufffd"))  # a character of several bytes may still be on its way
        if whole > given:
            yield text[given:whole]
            given = whole
    if rest := decode(run)[given:]:
        yield rest
