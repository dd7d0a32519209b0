"""`style/ecapa`: any recording → the speaker embedding of SpeechBrain's ECAPA-TDNN, brought to length 1.

Letters: B batch, N examples, S samples, T frames, M mel bands, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from omnikit import AudioPort, Contract, StylePort
from omnikit.errors import OmnikitError, unknown_name
from omnikit.slots.style import StyleModule, check_examples, reference_waves
from omnikit.types import Audio, Labels, Style, StyleSource
from omnikit_speechbrain.upstream import ECAPA_TDNN, Fbank

SAMPLE_RATE = 16_000
UNTRAINED = "untrained-ecapa"
_KERNELS = (5, 3, 3, 3, 1)
_DILATIONS = (1, 2, 3, 4, 1)
_MIN_SAMPLES = SAMPLE_RATE // 10
"""Below 100 ms a speaker cannot be told, and the network pads by more frames than there are."""


class ECAPA(StyleModule):
    """A recording → its ECAPA-TDNN embedding; without one, the mean embedding of the recordings it was fitted on.

    Args:
        dim: width of the embedding.
        space_id: name of the embedding space, that of the weights.
        channels: of the five layers of the network.
        attention_dim: of its pooling over time.
        num_mels: bands of the log-mel features, whose mean over a recording is taken away.

    It knows no factors: who speaks, and much of how, is in the direction of the vector. Stage `detokenizer` with this
    style trains a voice on what it hears in the recordings, in its space; voices of other spaces refuse its vectors.
    Their products tell how alike two speakers are.

    Contract: mono audio at 16 kHz → a style vector of `dim` numbers in `space_id`.
    Ref: Desplanques et al., "ECAPA-TDNN", Interspeech 2020 (arXiv 2005.07143); Ravanelli et al., "SpeechBrain"
    (arXiv 2106.04624), whose modules `ECAPA_TDNN` and `Fbank` these are.
    """

    views = frozenset({"audio"})
    average: Tensor

    def __init__(
        self,
        dim: int = 192,
        space_id: str = UNTRAINED,
        channels: Sequence[int] = (1024, 1024, 1024, 1024, 3072),
        attention_dim: int = 128,
        num_mels: int = 80,
    ) -> None:
        super().__init__()
        if len(channels) != len(_KERNELS):
            raise OmnikitError(f"style/ecapa: {list(channels)} are {len(channels)} channels; the network has 5 layers.")
        self.dim, self.space_id = dim, space_id
        self.features = Fbank(sample_rate=SAMPLE_RATE, n_mels=num_mels)
        for part in self.features.modules():  # which keep plain tensors that `.to` would leave behind
            for name in [name for name, value in vars(part).items() if isinstance(value, Tensor)]:
                part.register_buffer(name, vars(part).pop(name), persistent=False)
        self.network = ECAPA_TDNN(
            num_mels,
            lin_neurons=dim,
            channels=list(channels),
            kernel_sizes=list(_KERNELS),
            dilations=list(_DILATIONS),
            attention_channels=attention_dim,
        )
        self.register_buffer("average", torch.zeros(dim))  # [D]

    @classmethod
    def contract(cls, dim: Any, space_id: Any, **sizes: Any) -> Contract:
        """Audio in, a vector out."""
        return Contract(
            needs={"audio": AudioPort(sample_rate=SAMPLE_RATE)},
            gives={"style": StylePort(view="vector", dim=dim, space_id=space_id)},
        )

    @property
    def factors(self) -> Mapping[str, tuple[str, ...]]:
        """Empty: a recording says everything."""
        return {}

    def from_labels(self, labels: Sequence[Labels], source: StyleSource = "user") -> Style:
        """The average embedding for every row [B, D]. Raises `UnknownName` for any factor, as there are none."""
        for row in labels:
            for factor in row:
                raise unknown_name("style factor", factor, (), "style/ecapa takes a recording, not labels.")
        vector = self.average.expand(len(labels), -1).clone()
        return Style(labels=tuple({} for _ in labels), vector=vector, space_id=self.space_id, source=source)

    def from_audio(self, audio: Audio, source: StyleSource = "user") -> Style:
        """Embeddings [B, D] of length 1, each recording alone.

        Raises `ContractError` for another sample rate, `MediaError` for silence, NaN or less than 100 ms.
        """
        waves = reference_waves(audio, SAMPLE_RATE, _MIN_SAMPLES)
        was_training = self.training
        self.eval()  # batch statistics and dither are of training
        try:
            with torch.no_grad():
                vectors = [self._embed(wave.to(self.device, torch.float32)) for wave in waves]
        finally:
            self.train(was_training)
        return Style(vector=torch.stack(vectors), space_id=self.space_id, source=source)

    def fit(self, vectors: Tensor, labels: Sequence[Labels], space_id: str) -> None:
        """Take the mean of `vectors` [N, D] as the style of those who give no recording."""
        self.average.copy_(check_examples("style/ecapa", vectors, labels, self.dim).mean(0))
        self.space_id = space_id
        self.parameters_given["space_id"] = space_id

    def _embed(self, wave: Tensor) -> Tensor:
        """One recording [S] → [D]."""
        mels = self.features(wave[None])  # [1, T, M]
        return functional.normalize(self.network(mels - mels.mean(1, keepdim=True))[0, 0], dim=-1)
