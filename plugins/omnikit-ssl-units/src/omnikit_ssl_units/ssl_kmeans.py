"""`tokenizer/ssl_kmeans`: features of a self-supervised speech model → their nearest k-means centroids.

Letters: B batch, S samples, K codebooks (groups), T units, D feature width, N ids a codebook, M vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from omnikit import AudioPort, Contract, UnitsPort
from omnikit.errors import OmnikitError
from omnikit.nn.hf_speech import SAMPLE_RATE, HFSpeech, HFSpeechSizes, facts_of
from omnikit.nn.kmeans import kmeans
from omnikit.nn.vq import nearest
from omnikit.slots.groups import plain, read_group
from omnikit.slots.published import AroundPublished
from omnikit.slots.sound import check_audio
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.slots.unit_stream import Live, units_of
from omnikit.slots.units import own_codes
from omnikit.types import Audio, Frames, Layout, Losses, Units

MODEL = plain(HFSpeechSizes())
UNTRAINED = "untrained-ssl-kmeans"


class SSLKMeans(AroundPublished, SpeechTokenizer):
    """The features of a frozen HuBERT, WavLM, wav2vec 2.0 (XLSR) or Whisper encoder, cut into k-means units.

    Args:
        model: a published model and its layer, or the sizes of a random one (`omnikit.nn.hf_speech.HFSpeechSizes`).
        num_units: ids of a codebook.
        groups: the width is cut into so many parts with a codebook each, as wav2vec 2.0's quantiser does.
        reduced: merge runs of equal units and keep their durations beside them.
        vocab_id: name of the ids' meaning, set from the weights.

    Centroids are found from recordings by `fit_units` (the command `omnikit-ssl-units`, or the end of
    `stage=tokenizer`, whose steps before move them by the gradient of the same error). The encoder never learns.

    Contract: 16 kHz mono → `groups` codebooks of `num_units` ids, 50 a second over the model's `stride`. Offline.
    Raises: `OmnikitError` for a model that cannot be had or sizes that cannot be, `MediaError` for unusable audio,
        `WeightsError` for units of another vocabulary.
    Ref: Hsu et al., "HuBERT", IEEE/ACM TASLP 2021, section II; Lakhotia et al., "On Generative Spoken Language
        Modeling from Raw Audio", TACL 2021; groups: Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 2.
    """

    labels = "nothing"
    is_fitted_afterwards = True

    def __init__(
        self,
        model: Mapping[str, Any] = MODEL,
        num_units: int = 500,
        groups: int = 1,
        reduced: bool = False,
        vocab_id: str = UNTRAINED,
    ) -> None:
        super().__init__()
        sizes = _sizes(model)
        if num_units < 2 or groups < 1 or sizes.dim % groups:
            raise OmnikitError(
                f"{groups} codebooks of {num_units} ids over features of width {sizes.dim} cannot be.\n"
                "Give 2 ids or more, and a number of groups that divides the width."
            )
        self.encoder = HFSpeech(sizes).requires_grad_(False)
        self.codebooks = nn.Parameter(torch.randn(groups, num_units, sizes.dim // groups))  # [K, N, D / K]
        self.sizes, self.rate = (num_units,) * groups, self.encoder.rate
        self.layout: Layout = "reduced" if reduced else "frame"
        self.vocab_id = vocab_id

    @classmethod
    def contract(cls, model: Mapping[str, Any], num_units: int, groups: int, reduced: bool, vocab_id: str) -> Contract:
        """16 kHz mono → units at the encoder's rate."""
        units = UnitsPort(
            codebooks=(num_units,) * groups,
            rate=facts_of(_sizes(model)).rate,
            layout="reduced" if reduced else "frame",
            vocab_id=vocab_id,
        )
        return Contract(
            needs={"audio": AudioPort(sample_rate=SAMPLE_RATE)},
            gives={"units": units},
            lookahead_ms=Live().lookahead_ms,
        )

    def train(self, mode: bool = True) -> Self:
        """Training mode for the centroids; the frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        self.encoder.eval()
        return self

    def encode(self, audio: Audio) -> Units:
        """Units [B, K, T] of 16 kHz waveforms; padding is 0."""
        frames = self.features(audio)
        ids = self._ids(frames.features)  # [B, K, T]
        rows = [row[:, :length] for row, length in zip(ids, frames.lengths.tolist(), strict=True)]
        return units_of(rows, Units(ids, frames.lengths, self.sizes, self.rate, self.vocab_id, self.layout))

    def embed(self, units: Units) -> Frames:
        """The centroids that units stand for, group beside group: [B, T, D]; without a rate where runs are merged."""
        codes = own_codes(units, self.sizes, self.vocab_id, "tokenizer/ssl_kmeans", self.layout)
        pairs = zip(self.codebooks.detach(), codes.unbind(1), strict=True)
        vectors = torch.cat([book[ids] for book, ids in pairs], dim=-1)  # [B, T, D]
        return Frames(vectors, units.lengths, self.rate if self.layout == "frame" else None)

    def features(self, audio: Audio) -> Frames:
        """The encoder's steps [B, T, D], in float32."""
        check_audio(audio, SAMPLE_RATE, "tokenizer/ssl_kmeans")
        longest = int(audio.lengths.max())
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            steps, lengths = self.encoder(audio.wave[:, :longest].float(), audio.lengths.long())
        return Frames(steps, lengths, self.rate)

    def loss(self, audio: Audio, phones: Tensor, phone_lengths: Tensor) -> Losses:
        """The squared distance of a row's features to their centroids, a mean over features; phones are not looked at.

        Its gradient moves centroids towards the features that are nearest to them: k-means, a batch at a time.
        Ref: Bottou and Bengio, "Convergence properties of the k-means algorithms", NeurIPS 1994.
        """
        frames = self.features(audio)
        ids = self._ids(frames.features)  # [B, K, T]
        pairs = zip(self.codebooks, ids.unbind(1), strict=True)
        chosen = torch.cat([book[own] for book, own in pairs], dim=-1)  # [B, T, D]
        valid = torch.arange(ids.shape[-1], device=ids.device) < frames.lengths[:, None]  # [B, T]
        apart = (frames.features - chosen).square().mean(-1) * valid
        total = (apart.sum(1) / frames.lengths).mean()
        return Losses(total, {"distance": total.detach()})

    def read_phones(self, audio: Audio) -> list[list[int]]:
        """Nothing: raises `OmnikitError`."""
        raise OmnikitError(
            "tokenizer/ssl_kmeans has no head that reads phones: its units are clusters of features.\n"
            "Read them with a probe (omnikit probe)."
        )

    def fit_units(self, recordings: Iterable[Audio], generator: torch.Generator) -> None:
        """Find the centroids of every group from the features of `recordings` by k-means."""
        found = []
        for audio in recordings:
            frames = self.features(audio)
            rows = zip(frames.features, frames.lengths.tolist(), strict=True)
            found += [row[:length] for row, length in rows]  # [T, D] each
        if not found:
            raise OmnikitError("Units are found from recordings, and none were given.")
        vectors = torch.cat(found)  # [M, D]
        with torch.no_grad():
            for book, part in zip(self.codebooks, vectors.chunk(len(self.sizes), dim=-1), strict=True):
                book.copy_(kmeans(part, self.sizes[0], generator))

    def _ids(self, features: Tensor) -> Tensor:
        """Nearest centroids [B, K, T] of features [B, T, D]."""
        parts = features.chunk(len(self.sizes), dim=-1)
        return torch.stack([nearest(part, book) for part, book in zip(parts, self.codebooks, strict=True)], dim=1)


def _sizes(model: Mapping[str, Any]) -> HFSpeechSizes:
    return read_group(HFSpeechSizes, "model", {**MODEL, **model})
