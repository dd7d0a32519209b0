"""`style/reference`: any recording → the style vector that the reference encoder of a detokenizer hears in it.

Letters: B batch, N examples, D style width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from omnikit.contracts import DERIVED, AudioPort, Contract, StylePort
from omnikit.errors import unknown_name
from omnikit.nn.reference_encoder import ReferenceEncoder
from omnikit.slots.style import StyleModule, check_examples, reference_waves
from omnikit.types import Audio, Labels, Style, StyleSource


class Reference(StyleModule):
    """A recording → its reference embedding; without one, the mean embedding of the recordings it was fitted on.

    Args:
        dim: width of the style vectors.
        space_id: name of the embedding space, that of the detokenizer whose encoder this is a copy of.
        sample_rate, fft_size, hop_size: of the magnitude spectrogram that the encoder reads.
        hidden_dim, num_heads, kernel_size, compress, mask_padding: of the encoder (see `nn.style_encoder`).

    `omnikit style make reference` fills it with the encoder of a trained detokenizer. It knows no factors.

    Contract: mono audio at `sample_rate` Hz → a style vector of `dim` numbers in `space_id`.
    Ref: Min et al., "Meta-StyleSpeech", ICML 2021, section 3.1.1; Chen et al. 2024 (EMOVA, arXiv 2409.18042, sec. 3.2).
    """

    views = frozenset({"audio"})
    average: Tensor

    def __init__(
        self,
        dim: int = DERIVED,
        space_id: str = DERIVED,
        sample_rate: int = 22_050,
        fft_size: int = 1024,
        hop_size: int = 256,
        hidden_dim: int = 192,
        num_heads: int = 2,
        kernel_size: int = 5,
        compress: bool = False,
        mask_padding: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.space_id, self.sample_rate, self.hop_size = dim, space_id, sample_rate, hop_size
        self.encoder = ReferenceEncoder(
            sample_rate, fft_size, hop_size, hidden_dim, dim, num_heads, kernel_size, compress, mask_padding
        )
        self.register_buffer("average", torch.zeros(dim))  # [D]

    @classmethod
    def contract(cls, dim: Any, space_id: Any, sample_rate: int, **sizes: Any) -> Contract:
        """Audio in, a vector out."""
        return Contract(
            needs={"audio": AudioPort(sample_rate=sample_rate)},
            gives={"style": StylePort(view="vector", dim=dim, space_id=space_id)},
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """Empty: a recording says everything."""
        return {}

    def from_labels(self, labels: Sequence[Labels], source: StyleSource = "user") -> Style:
        """The average style for every row [B, D]. Raises `UnknownName` for any factor, as there are none."""
        for row in labels:
            for factor in row:
                raise unknown_name("style factor", factor, (), "style/reference takes a recording, not labels.")
        vector = self.average.expand(len(labels), -1).clone()
        return Style(labels=tuple({} for _ in labels), vector=vector, space_id=self.space_id, source=source)

    def from_audio(self, audio: Audio, source: StyleSource = "user") -> Style:
        """Embeddings [B, D] of length 1, each recording alone.

        Raises `ContractError` for another sample rate, `MediaError` for silence, NaN or less than one frame.
        """
        waves = reference_waves(audio, self.sample_rate, self.hop_size)
        with torch.no_grad():
            vectors = [self.encoder(wave.to(self.device, self.average.dtype)) for wave in waves]
        return Style(vector=torch.stack(vectors), space_id=self.space_id, source=source)

    def fit(self, vectors: Tensor, labels: Sequence[Labels], space_id: str) -> None:
        """Take the mean of `vectors` [N, D] as the style of those who give no recording."""
        self.average.copy_(check_examples("style/reference", vectors, labels, self.dim).mean(0))
        self.space_id = space_id
        self.parameters_given["space_id"] = space_id
