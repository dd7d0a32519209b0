"""`style/text_prompt`: a description in words → style vector.

Letters: B batch, N examples, V values of all factors together, D style width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.contracts import DERIVED, Contract, StylePort
from omnikit.errors import OmnikitError
from omnikit.nn.residual_map import ResidualMap
from omnikit.nn.text_encoder import TextEncoder
from omnikit.slots.style import LearnedStyle, check_examples
from omnikit.slots.style_factors import FactorSpace
from omnikit.types import Labels, Losses, Style, StyleSource

FACTORS = {
    "gender": ["female", "male"],
    "emotion": ["neutral", "happy", "sad", "angry"],
    "speed": ["normal", "slow", "fast"],
    "pitch": ["normal", "low", "high"],
}
SCALES = {
    "speed": {"slow": 0.8, "normal": 1.0, "fast": 1.25},
    "pitch": {"low": -2.5, "normal": 0.0, "high": 2.5},
}
_OWNER = "style/text_prompt"


class TextPrompt(LearnedStyle):
    """Words such as "a slow sad man" → the style vector of recordings that such words describe.

    Args:
        dim: width of the style vectors.
        space_id: name of the embedding space, that of the detokenizer whose references it learns from.
        factors: the values of each factor; the first is the default, which a description may leave out.
        scales: factor → value → position, for factors whose labels may be numbers.
        num_buckets, embedding_dim, hidden_dim: sizes of the text encoder (see `nn.text_encoder`).

    A small encoder reads from the words how likely every value of every factor is; a second network says the vector of
    such shares. Labels enter between the two, a number as shares of its neighbours. Words that share nothing with those
    of training are refused; the labels of a style from words are what was read.

    Contract: gives a style vector of `dim` numbers in `space_id`.
    Ref: after Bott et al., "Controlling Emotion in Text-to-Speech with Natural Language Prompts", Interspeech 2024
    (arXiv 2406.06406), with a small encoder of its own in place of a pretrained one.
    """

    views = frozenset({"text"})
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        dim: int = DERIVED,
        space_id: str = DERIVED,
        factors: Mapping[str, Sequence[str]] = FACTORS,
        scales: Mapping[str, Mapping[str, float]] = SCALES,
        num_buckets: int = 4096,
        embedding_dim: int = 48,
        hidden_dim: int = 128,
    ) -> None:
        super().__init__()
        self.dim, self.space_id = dim, space_id
        self.space = FactorSpace(_OWNER, factors, scales)
        self.sizes = [len(values) for values in self.factors.values()]
        self.encoder = TextEncoder(num_buckets, embedding_dim, hidden_dim)
        self.reader = nn.Linear(hidden_dim, sum(self.sizes))
        self.speaker = ResidualMap(sum(self.sizes), hidden_dim, dim)
        self.register_buffer("mean", torch.zeros(dim))  # [D]
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def contract(cls, dim: Any, space_id: Any, **sizes: Any) -> Contract:
        """Gives a vector."""
        return Contract(
            gives={"style": StylePort(view="vector", dim=dim, space_id=space_id)}, causal=True, lookahead_ms=0.0
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """Every factor with its values, the default first."""
        return self.space.factors

    @property
    def scales(self) -> Mapping[str, Mapping[str, float]]:
        """The factors whose labels may be numbers, with the position of each value."""
        return self.space.scales

    def from_text(self, texts: Sequence[str], source: StyleSource = "user") -> Style:
        """Vectors [B, D] of descriptions, and the labels read from them (the likeliest value of every factor).

        Raises `OmnikitError` for a description without any word that training knew.
        """
        codes = self.encoder.codes(texts)
        for text, known in zip(texts, self.encoder.knows(codes).tolist(), strict=True):
            if not known:
                raise OmnikitError(
                    f"None of the words of the description '{text}' is known.\n"
                    "Say who speaks and how, for example 'a slow sad man with a deep voice'."
                )
        with torch.no_grad():
            read = [score.softmax(-1) for score in self._scores(codes)]
            vector = self._vectors(torch.cat(read, -1))
        labels = tuple(
            {
                name: values[int(share[row].argmax())]
                for (name, values), share in zip(self.factors.items(), read, strict=True)
            }
            for row in range(len(texts))
        )
        return Style(labels=labels, vector=vector, space_id=self.space_id, source=source)

    def from_labels(self, labels: Sequence[Labels], source: StyleSource = "user") -> Style:
        """Vectors [B, D] of the labels; missing factors take their default.

        Raises `UnknownName` for a factor or value that does not exist, `OmnikitError` for a number off its scale.
        """
        full = tuple(self.space.complete(row) for row in labels)
        with torch.no_grad():
            vector = self._vectors(self._shares(full))
        return Style(labels=full, vector=vector, space_id=self.space_id, source=source)

    def fit(self, vectors: Tensor, labels: Sequence[Labels], space_id: str) -> None:
        """Take mean and spread of the examples `vectors` [N, D]; what words mean is learnt by stage `style`."""
        examples = check_examples(_OWNER, vectors, labels, self.dim)  # [N, D]
        self.mean.copy_(examples.mean(0))
        self.scale.copy_((examples - examples.mean(0)).square().mean().sqrt().clamp(min=1e-6))
        self.space_id = space_id
        self.parameters_given["space_id"] = space_id

    def loss(
        self, vectors: Tensor, labels: Sequence[Labels], texts: Sequence[str], generator: torch.Generator
    ) -> Losses:
        """Cross-entropy of the labels read from texts; squared errors of the vectors of texts and of labels.

        The squared errors are in units of the spread of vectors.
        """
        own = [{name: value for name, value in row.items() if name in self.factors} for row in labels]
        shares = self._shares([self.space.complete(row) for row in own])  # [B, V]
        target = (vectors.to(self.mean) - self.mean) / self.scale
        codes = self.encoder.codes(texts)
        if self.training:
            self.encoder.remember(codes)
            codes = self.encoder.drop(codes, generator)
        scores = self._scores(codes)
        read = torch.cat([score.softmax(-1) for score in scores], -1)
        entropies = [
            functional.cross_entropy(score, share)
            for score, share in zip(scores, shares.split(self.sizes, -1), strict=True)
        ]
        parts = {
            "read": torch.stack(entropies).sum(),
            "described": (self.speaker(read) - target).square().mean(),
            "labelled": (self.speaker(shares) - target).square().mean(),
        }
        return Losses(torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()})

    def _scores(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Scores [B, values] of the values of every factor, from the codes of texts."""
        return self.reader(self.encoder(codes)).split(self.sizes, -1)

    def _shares(self, completed: Sequence[Labels]) -> Tensor:
        """Labels as shares of every value of every factor [B, V]."""
        rows = []
        for labels in completed:
            row = []
            for name, values in self.factors.items():
                shares = dict(self.space.neighbours(name, labels[name]))
                row += [shares.get(value, 0.0) for value in values]
            rows.append(row)
        return torch.tensor(rows, device=self.mean.device, dtype=self.mean.dtype)

    def _vectors(self, shares: Tensor) -> Tensor:
        return self.speaker(shares) * self.scale + self.mean
