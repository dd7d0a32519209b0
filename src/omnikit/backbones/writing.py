"""Writing token after token: one step of a model on a batch, what it has read already, and text while it grows.

Letters: B batch, L positions, W width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from omnikit.backbones.pens import Pen
from omnikit.backbones.reading import Kept, Reader
from omnikit.backbones.unit_vocabulary import UnitVocabulary
from omnikit.slots.backbone import Memory

UNLIMITED = torch.iinfo(torch.int32).max - 1
"""Tokens that every reply has room in."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Writer:
    """What reads embeddings [B, L, W], gives logits [B, V] of a hidden state, and the id that ends a reply."""

    reader: Reader
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
    ) -> Generator[list[list[int]], None, list[bool]]:
        """What is told of each position after prompts [B, L, W] with `pads` [B] before them, until all have ended.

        `pen` says which tokens may come and what is read of those that do; `memory` is of a single prompt. Returns for
        every row whether `max_new_tokens` cut it short (`Generated.truncated`).
        """
        mask = (torch.arange(embeds.shape[1], device=embeds.device) >= pads.unsqueeze(1)).long()  # [B, L]
        padded = bool(pads.any())
        places = (mask.cumsum(1) - 1).clamp(min=0)  # [B, L]
        kept = Kept(self.reader.begin(), embeds[0, :0])
        if memory is not None:
            assert len(pads) == 1, "a memory is of one conversation"
            read_alike = memory.kept is not None and memory.kept.reading.reader == self.reader
            known = memory.kept.common(embeds[0]) if read_alike else 0
            known = max(min(known, embeds.shape[1] - pen.reach), 0)
            known = known if known and memory.kept.cut(known) else 0
            if known:
                kept, embeds, places = memory.kept, embeds[:, known:], places[:, known:]
            memory.kept, memory.reused = kept, known
        is_open = torch.ones(len(pads), dtype=torch.bool, device=embeds.device)
        is_cut = torch.zeros_like(is_open)
        for left in range(max_new_tokens, 0, -1):
            hidden = kept.reading.read(embeds, places, mask if padded else None)
            if memory is not None:
                kept.add(embeds[0])
            if left == max_new_tokens:
                pen.start(hidden)
            logits = self.logits(hidden[:, -1]).float()  # [B, V]
            allowed = pen.allowed(left)
            if allowed is not None:
                allowed = allowed.to(logits.device)
                is_cut |= is_open & _lacks_room(logits, allowed, pen)
                logits = logits.masked_fill(~allowed, -torch.inf)
            chosen = torch.where(is_open, choose(logits, temperature, generator), self.end)  # [B]
            told, following = pen.put(hidden[:, -1], chosen)
            yield told
            is_open &= chosen != self.end
            if not is_open.any():
                break
            embeds = following.unsqueeze(1)  # [B, 1, W]
            mask = F.pad(mask, (0, 1), value=1)
            places = places[:, -1:] + 1
        truncated: list[bool] = (is_cut | is_open).tolist()
        if memory is not None:
            memory.truncated = truncated[0]
        return truncated


def drained(items: Generator[Item, None, Result]) -> tuple[list[Item], Result]:
    """All that a generator gives, and what it returns."""
    found: list[Item] = []
    while True:
        try:
            found.append(next(items))
        except StopIteration as stop:
            return found, stop.value


def _lacks_room(logits: Tensor, allowed: Tensor, pen: Pen) -> Tensor:
    """Rows [B] whose likeliest token would be another, of logits [B, V], if there were more room than is `allowed`."""
    likeliest = logits.argmax(dim=-1, keepdim=True)  # [B, 1]
    is_free = allowed.gather(1, likeliest).squeeze(1)  # [B]
    if bool(is_free.all()):  # as nearly always
        return ~is_free
    possible = pen.allowed(UNLIMITED)
    assert possible is not None, "a pen that holds back tokens does so with more room too"
    likeliest = logits.masked_fill(~possible.to(logits.device), -torch.inf).argmax(dim=-1, keepdim=True)
    return ~allowed.gather(1, likeliest).squeeze(1)


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
