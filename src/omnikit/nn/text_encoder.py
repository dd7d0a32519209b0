"""Short descriptions → one vector each, by a small convolutional encoder over words known by their letters.

A word is the mean of embeddings of its character n-grams, found by hashing, so that there is no vocabulary: `sadder`
shares most of `sad`, and a word that shares nothing with training is noticed.
Letters: B batch, W words, G n-grams of a word, D width.

Ref: Bojanowski et al., "Enriching Word Vectors with Subword Information", TACL 2017; Kim, "Convolutional Neural
Networks for Sentence Classification", EMNLP 2014; dropped words: Iyyer et al., "Deep Unordered Composition", ACL 2015.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

_WORD = re.compile(r"[^\W_]+")
_SIZES = (3, 4, 5)
_MAX_WORDS = 60
_PADDING = 0
_NUM_CODES = 65_536
_KNOWN_GRAMS = 2
"""N-grams of a word that training must have used for the word to count as known: one may be a chance of hashing."""
_DROPPED_WORDS, _DROPPED_GRAMS = 0.15, 0.3


@lru_cache(maxsize=4096)
def codes_of(word: str) -> tuple[int, ...]:
    """Codes, 1 to 65,535, of the n-grams of `<word>` and of the whole of it."""
    marked = f"<{word}>"
    grams = {marked} | {marked[i : i + size] for size in _SIZES for i in range(len(marked) - size + 1)}
    return tuple(sorted(zlib.crc32(gram.encode()) % (_NUM_CODES - 1) + 1 for gram in grams))


def words_of(text: str) -> list[str]:
    """The words of a description, in lower case, at most 60."""
    return _WORD.findall(text.lower())[:_MAX_WORDS]


class TextEncoder(nn.Module):
    """Texts → [B, D]. Its buffer `seen` remembers which n-grams training has used."""

    seen: Tensor

    def __init__(self, num_buckets: int, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.num_buckets = num_buckets
        self.embedding = nn.EmbeddingBag(num_buckets, embedding_dim, mode="mean", padding_idx=_PADDING)
        self.conv = nn.Conv1d(embedding_dim, hidden_dim, 3, padding=1)
        self.register_buffer("seen", torch.zeros(_NUM_CODES, dtype=torch.bool))

    def codes(self, texts: Sequence[str]) -> Tensor:
        """Codes [B, W, G] of the n-grams of the texts' words, padded with 0."""
        words = [[codes_of(word) for word in words_of(text)] for text in texts]
        num_words = max(1, max(map(len, words), default=1))
        num_grams = max((len(grams) for row in words for grams in row), default=1)
        table = [
            [[*grams, *[_PADDING] * (num_grams - len(grams))] for grams in (*row, *[()] * (num_words - len(row)))]
            for row in words
        ]
        return torch.tensor(table, device=self.embedding.weight.device).view(len(texts), num_words, num_grams)

    def remember(self, codes: Tensor) -> None:
        """Note n-grams as seen in training."""
        self.seen[codes.flatten()] = True
        self.seen[_PADDING] = False

    def knows(self, codes: Tensor) -> Tensor:
        """Whether any word of a text is like those of training [B], from codes [B, W, G]."""
        return (self.seen[codes].sum(-1) >= _KNOWN_GRAMS).any(-1)

    def drop(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """The codes [B, W, G] with words and n-grams left out at random, so that no one of them is relied upon."""
        words = torch.rand(codes.shape[:2], generator=generator, device=generator.device).to(codes.device)
        grams = torch.rand(codes.shape, generator=generator, device=generator.device).to(codes.device)
        return codes * ((words >= _DROPPED_WORDS)[..., None] & (grams >= _DROPPED_GRAMS))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes [B, W, G] → [B, D]: of every feature of three words in a row, the largest value in the text."""
        buckets = torch.where(codes == _PADDING, _PADDING, (codes - 1) % (self.num_buckets - 1) + 1)
        x = self.embedding(buckets.flatten(0, 1)).unflatten(0, codes.shape[:2]).transpose(1, 2)  # [B, D, W]
        valid = (codes != _PADDING).any(-1)[:, None]  # [B, 1, W]
        found = functional.gelu(self.conv(x)).masked_fill(~valid, -torch.inf).amax(-1)
        return found.nan_to_num(neginf=0.0)
