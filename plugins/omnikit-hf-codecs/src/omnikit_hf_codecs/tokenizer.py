"""A codec of the transformers library as a tokenizer.

Letters: B batch, S samples, K codebooks, T units, D width of the codes.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from omnikit import AudioPort, Contract, UnitsPort
from omnikit.errors import OmnikitError
from omnikit.slots.sound import check_audio
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.slots.unit_stream import Live
from omnikit.slots.units import own_codes
from omnikit.types import Audio, Frames, Losses, Units
from omnikit_hf_codecs.codec import Codec, straight_through, valid_samples
from omnikit_hf_codecs.objective import MelDistance

COMMITMENT = 0.25


class CodecTokenizer(SpeechTokenizer):
    """Speech → residual ids of a codec, whose decoder stands beside it so that `loss` can go on training it.

    Rows are read one by one, as these networks pad at the ends of what they are given: a row of a batch has exactly
    the units of the recording alone.
    """

    labels = "nothing"
    name: str
    """Its id."""

    def __init__(self, codec: Codec, vocab_id: str) -> None:
        super().__init__()
        self.codec, self.distance = codec, MelDistance(codec.sample_rate)
        self.sizes, self.rate, self.vocab_id = codec.sizes, Fraction(codec.sample_rate, codec.hop_size), vocab_id

    def partner(self) -> dict[str, object]:
        """Parameters of the detokenizer that speaks its units: the same sizes, with these codebooks."""
        own = ("num_codebooks", "codebook_size", "vocab_id")
        shared = {name: value for name, value in self.parameters_given.items() if name not in own}
        return {**shared, "codebooks": list(self.sizes), "vocab_id": self.vocab_id}

    def encode(self, audio: Audio) -> Units:
        """Units [B, K, T], `ceil(samples / hop)` steps a row, in float32."""
        rows = self._each_row(audio, lambda wave: self.codec.ids(self.codec.steps(wave))[0].T)  # [T, K] each
        codes = pad_sequence(rows, batch_first=True).transpose(1, 2)  # [B, K, T]
        return Units(codes, self._lengths(rows), self.sizes, self.rate, self.vocab_id)

    def embed(self, units: Units) -> Frames:
        """What units stand for in the place of the encoder's steps [B, T, D]."""
        codes = own_codes(units, self.sizes, self.vocab_id, self.name)
        return Frames(self.codec.vectors(codes).transpose(1, 2), units.lengths, self.rate)

    def features(self, audio: Audio) -> Frames:
        """The encoder's steps [B, T, D] before the codebooks."""
        rows = self._each_row(audio, lambda wave: self.codec.steps(wave)[0].T)  # [T, D] each
        return Frames(pad_sequence(rows, batch_first=True), self._lengths(rows), self.rate)

    def loss(self, audio: Audio, phones: Tensor, phone_lengths: Tensor) -> Losses:
        """Mel distance of what comes back through the codes, and a quarter of the encoder's commitment to them.

        Gradients pass the codebooks straight through; phones are not looked at.
        """
        check_audio(audio, self.codec.sample_rate, self.name)
        longest = int(audio.lengths.max())
        real = self.codec.whole(audio.wave[:, :longest] * valid_samples(audio.lengths, longest))
        steps = self.codec.steps(real)  # [B, D, T]
        vectors = self.codec.vectors(self.codec.ids(steps))
        fake = self.codec.sound(straight_through(steps, vectors))
        used = torch.arange(steps.shape[-1], device=steps.device) * self.codec.hop_size < audio.lengths[:, None]
        apart = (steps - vectors.detach()).square().mean(1) * used  # [B, T]
        mel, commitment = self.distance(real, fake, audio.lengths), (apart.sum(1) / used.sum(1)).mean()
        return Losses(mel + COMMITMENT * commitment, {"mel": mel.detach(), "commitment": commitment.detach()})

    def read_phones(self, audio: Audio) -> list[list[int]]:
        """Nothing: raises `OmnikitError`."""
        raise OmnikitError(
            f"{self.name} was trained to reconstruct sound: it has no head that reads phones.\n"
            "Read its units with a probe (omnikit probe)."
        )

    def _each_row(self, audio: Audio, read: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """`read` of every row [1, S] alone, without gradients."""
        check_audio(audio, self.codec.sample_rate, self.name)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            rows = zip(audio.wave, audio.lengths.tolist(), strict=True)
            return [read(wave[None, :length].float()) for wave, length in rows]

    def _lengths(self, rows: list[Tensor]) -> Tensor:
        return torch.tensor([len(row) for row in rows], device=self.device)


def codec_contract(sample_rate: int, hop_size: int, sizes: tuple[int, ...], vocab_id: str, causal: bool) -> Contract:
    """Audio in, residual units out."""
    rate = Fraction(sample_rate, hop_size)
    return Contract(
        needs={"audio": AudioPort(sample_rate=sample_rate)},
        gives={"units": UnitsPort(codebooks=sizes, rate=rate, layout="frame", vocab_id=vocab_id)},
        causal=causal,
        lookahead_ms=Live().lookahead_ms,
    )
