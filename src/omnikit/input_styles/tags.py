"""`input_style/tags`: a classifier of the user's tone, whose labels the backbone reads as text before what is said.

Letters: B batch, S samples, D tone width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.contracts import AudioPort, Contract, LabelsPort
from omnikit.errors import OmnikitError
from omnikit.input_styles.tone import tone_encoder, tones
from omnikit.slots.backbone import Segment
from omnikit.slots.input_style import LearnedInputStyle
from omnikit.types import Audio, Losses

FACTORS = {
    "emotion": ["neutral", "happy", "sad", "angry"],
    "pitch": ["low", "normal", "high"],
    "speed": ["slow", "normal", "fast"],
}


class Tags(LearnedInputStyle):
    """The most likely value of every factor, written as `<emotion=sad pitch=low speed=slow>`.

    Args:
        factors: the values of every factor that is told, in the order in which they are written.
        hidden_dim, dim: widths inside the encoder, and of the tone vector D.
        sample_rate: of the recordings, in Hz.

    Stage `input_style` trains it on recordings whose style is known; in the stages of the mind it stays as it is.
    A tag stands between the marks of speech, where nobody can type; replies and their grammar know nothing of it.

    Contract: mono audio at `sample_rate` Hz → a label of every factor.
    Ref: speech that reaches a text model as words with attributes of the voice: Lin et al. 2024 (StyleTalk, arXiv
    2402.12786); the encoder is that of Min et al., "Meta-StyleSpeech", ICML 2021, section 3.1.1.
    """

    def __init__(
        self,
        factors: Mapping[str, Sequence[str]] = FACTORS,
        hidden_dim: int = 128,
        dim: int = 64,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        few = [factor for factor, values in factors.items() if len(set(values)) < 2]
        if few or not factors:
            raise OmnikitError(
                f"input_style/tags needs factors of two values at least; {few[0] if few else 'it got none'}."
            )
        self.sample_rate = sample_rate
        self._factors = {factor: tuple(values) for factor, values in factors.items()}
        self.encoder = tone_encoder(sample_rate, hidden_dim, dim)
        self.heads = nn.ModuleDict({factor: nn.Linear(dim, len(values)) for factor, values in factors.items()})

    @classmethod
    def contract(
        cls, factors: Mapping[str, Sequence[str]], sample_rate: int, hidden_dim: int = 128, dim: int = 64
    ) -> Contract:
        return Contract(
            needs={"audio": AudioPort(sample_rate=sample_rate)},
            gives={"labels": LabelsPort(tuple(factors))},
            ignores=frozenset({"embeds"}),
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """The factors that it names, with their values."""
        return self._factors

    @torch.no_grad()
    def labels(self, audio: Audio) -> list[dict[str, str]]:
        """The most likely value of every factor for each recording [B, S]. Raises `MediaError` for unusable audio."""
        found = {factor: logits.argmax(-1).tolist() for factor, logits in self._logits(audio).items()}
        return [
            {factor: self._factors[factor][picks[row]] for factor, picks in found.items()}
            for row in range(len(audio.lengths))
        ]

    def read(self, audio: Audio) -> list[Segment | None]:
        """The tag of each recording [B, S] as text. Raises `MediaError` for unusable audio."""
        return [Segment(text=_tag(labels), heard=True) for labels in self.labels(audio)]

    def blank(self) -> Segment:
        """The tag of the longest values."""
        longest = {factor: max(values, key=len) for factor, values in self._factors.items()}
        return Segment(text=_tag(longest), heard=True)

    def texts(self) -> Sequence[str]:
        """Every tag."""
        return [_tag(dict(zip(self._factors, values, strict=True))) for values in product(*self._factors.values())]

    def loss(self, audio: Audio, labels: Sequence[Mapping[str, str]]) -> Losses:
        """Mean cross-entropy over factors; parts are the shares named right. Raises `OmnikitError` without labels."""
        totals, parts = [], {}
        for factor, logits in self._logits(audio).items():
            values = self._factors[factor]
            rows = [row for row, own in enumerate(labels) if own.get(factor) in values]
            if not rows:
                continue
            target = torch.tensor([values.index(labels[row][factor]) for row in rows], device=logits.device)
            totals.append(functional.cross_entropy(logits[rows].float(), target))
            parts[factor] = (logits[rows].argmax(-1) == target).float().mean()
        if not totals:
            raise OmnikitError(
                f"No recording of the batch has a label of {', '.join(self._factors)}; other values are not learnt."
            )
        return Losses(torch.stack(totals).mean(), parts)

    def _logits(self, audio: Audio) -> dict[str, Tensor]:
        """A score of every value [B, values], by factor."""
        vectors = tones(self.encoder, audio, self.sample_rate, "input_style/tags")
        return {factor: head(vectors) for factor, head in self.heads.items()}


def _tag(labels: Mapping[str, str]) -> str:
    return f"<{' '.join(f'{factor}={value}' for factor, value in labels.items())}>"
