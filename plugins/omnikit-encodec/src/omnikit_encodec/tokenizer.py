"""`tokenizer/encodec`: speech → the residual codes of EnCodec.

Letters: B batch, S samples, K codebooks, T units, D width of the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from omnikit import AudioPort, Contract, UnitsPort
from omnikit.errors import OmnikitError
from omnikit.slots.sound import check_audio
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.slots.unit_stream import Live
from omnikit.slots.units import own_codes
from omnikit.types import Audio, Frames, Losses, Units
from omnikit_encodec.networks import (
    SAMPLE_RATE,
    UNTRAINED,
    hop_of,
    make_decoder,
    make_encoder,
    make_quantizer,
    rate_of,
    vectors_of,
)
from omnikit_encodec.objective import Reconstruction


class EncodecTokenizer(SpeechTokenizer):
    """EnCodec's encoder and residual codebooks: everything audible becomes `num_codebooks` ids a step.

    Args:
        num_codebooks: how many of the 32 codebooks are used; at 75 Hz with 1024 ids each, one is 0.75 kbit/s.
        codebook_size: ids of each.
        dim: width of the codes.
        num_filters: channels of the first layer; every stride doubles them.
        ratios: strides of the decoder, of which the encoder has the reverse.
        vocab_id: name of the ids' meaning, set from the weights.

    Rows are read one by one, as the package pads at the end of what it is given: a row of a batch has exactly the
    units that the package gives the recording alone. The codec's decoder stands beside the encoder, so that `loss`
    can go on training it; the codebooks stay as they are.

    Contract: 24 kHz mono → `num_codebooks` units of `codebook_size` ids each, 75 times a second (causal network).
    Raises: `MediaError` for audio it cannot read, `WeightsError` for units of another vocabulary.
    Ref: Défossez et al., "High Fidelity Neural Audio Compression", TMLR 2023 (arXiv 2210.13438), whose modules
        `SEANetEncoder` and `ResidualVectorQuantizer` these are.
    """

    labels = "nothing"

    def __init__(
        self,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        dim: int = 128,
        num_filters: int = 32,
        ratios: Sequence[int] = (8, 5, 4, 2),
        vocab_id: str = UNTRAINED,
    ) -> None:
        super().__init__()
        self.sizes = (codebook_size,) * num_codebooks
        self.hop_size, self.rate, self.vocab_id = hop_of(ratios), rate_of(ratios), vocab_id
        self.quantizer = make_quantizer(self.sizes, dim)
        self.encoder = make_encoder(dim, num_filters, ratios)
        self.decoder = make_decoder(dim, num_filters, ratios)
        self.reconstruction = Reconstruction(SAMPLE_RATE)

    @classmethod
    def contract(
        cls, num_codebooks: int, codebook_size: int, ratios: Sequence[int], vocab_id: str, **_: Any
    ) -> Contract:
        """Audio at 24 kHz in, residual units out."""
        units = UnitsPort(
            codebooks=(codebook_size,) * num_codebooks, rate=rate_of(ratios), layout="frame", vocab_id=vocab_id
        )
        return Contract(
            needs={"audio": AudioPort(sample_rate=SAMPLE_RATE)},
            gives={"units": units},
            causal=True,
            lookahead_ms=Live().lookahead_ms,
        )

    def encode(self, audio: Audio) -> Units:
        """Units [B, K, T] of 24 kHz waveforms, `ceil(samples / hop)` steps a row; the package's own, bit for bit."""
        with torch.no_grad():
            rows = [self._quantizer_ids(steps) for steps in self._row_steps(audio)]  # [K, T] each
        codes = pad_sequence([row.T for row in rows], batch_first=True).transpose(1, 2)  # [B, K, T]
        return Units(codes, _lengths(rows, audio), self.sizes, self.rate, self.vocab_id)

    def embed(self, units: Units) -> Frames:
        """The sums of the codebooks' vectors [B, T, D]."""
        codes = own_codes(units, self.sizes, self.vocab_id, "tokenizer/encodec")
        return Frames(vectors_of(self.quantizer, codes).transpose(1, 2), units.lengths, self.rate)

    def features(self, audio: Audio) -> Frames:
        """The encoder's steps [B, T, D] before the codebooks."""
        with torch.no_grad():
            rows = [steps[0].T for steps in self._row_steps(audio)]  # [T, D] each
        return Frames(pad_sequence(rows, batch_first=True), _lengths([row.T for row in rows], audio), self.rate)

    def loss(self, audio: Audio, phones: Tensor, phone_lengths: Tensor) -> Losses:
        """Reconstruction through the codes, and the commitment of the encoder to them; phones are not looked at.

        Gradients pass the codebooks straight through. The adversary of the published training is that of
        `stage=detokenizer`, which teaches the decoder alone.
        """
        check_audio(audio, SAMPLE_RATE, "tokenizer/encodec")
        longest = int(audio.lengths.max())
        valid = torch.arange(longest, device=audio.wave.device) < audio.lengths[:, None]  # [B, S]
        real = functional.pad(audio.wave[:, :longest] * valid, (0, -longest % self.hop_size))
        steps = self.encoder(real[:, None])  # [B, D, T]
        codes = self.quantizer.vq.encode(steps).transpose(0, 1)  # [B, K, T]
        vectors = vectors_of(self.quantizer, codes)
        fake = self.decoder(steps + (vectors - steps).detach())[:, 0]  # [B, S]
        used = torch.arange(steps.shape[-1], device=steps.device) * self.hop_size < audio.lengths[:, None]  # [B, T]
        apart = (steps - vectors.detach()).square().mean(1) * used  # [B, T]
        terms = self.reconstruction(real, fake, audio.lengths)
        terms["commitment"] = (apart.sum(1) / used.sum(1)).mean()
        total = torch.stack(list(terms.values())).sum()
        return Losses(total, {name: value.detach() for name, value in terms.items()})

    def read_phones(self, audio: Audio) -> list[list[int]]:
        """Nothing: raises `OmnikitError`."""
        raise OmnikitError(
            "tokenizer/encodec was trained to reconstruct sound: it has no head that reads phones.\n"
            "Read its units with a probe (omnikit probe)."
        )

    def _row_steps(self, audio: Audio) -> list[Tensor]:
        """The encoder's steps of every row alone: [1, D, T] each, in float32."""
        check_audio(audio, SAMPLE_RATE, "tokenizer/encodec")
        with torch.autocast(self.device.type, enabled=False):
            return [
                self.encoder(wave[None, None, :length])
                for wave, length in zip(audio.wave, audio.lengths.tolist(), strict=True)
            ]

    def _quantizer_ids(self, steps: Tensor) -> Tensor:
        """Ids [K, T] of steps [1, D, T]."""
        with torch.autocast(self.device.type, enabled=False):
            return self.quantizer.vq.encode(steps)[:, 0]


def _lengths(rows: Sequence[Tensor], audio: Audio) -> Tensor:
    """Steps [B] of rows [·, T]."""
    return torch.tensor([row.shape[-1] for row in rows], device=audio.wave.device)
