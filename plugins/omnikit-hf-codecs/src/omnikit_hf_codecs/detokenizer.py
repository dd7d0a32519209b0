"""A codec of the transformers library as a detokenizer.

Letters: B batch, K codebooks, T units, F frames (one a unit where no durations are given), S samples.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from omnikit import AudioPort, Contract, UnitsPort
from omnikit.contracts import Free
from omnikit.errors import DataError
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch, VoiceOutput, sound_of
from omnikit.slots.units import frames_of_codes, own_codes
from omnikit.types import Audio, Losses, Style, Units
from omnikit_hf_codecs.codec import Codec
from omnikit_hf_codecs.objective import MelDistance

SEGMENT_S = 1.0
"""Of a training step."""


class CodecDetokenizer(Detokenizer):
    """Residual ids of a codec → sound. Who speaks, and how, is in the ids: a style is not applicable.

    Rows are made one by one, as these networks pad at the ends of what they are given. Durations repeat the codes of a
    unit, a plain slowing down.
    """

    name: str
    """Its id."""

    def __init__(self, codec: Codec, vocab_id: str) -> None:
        super().__init__()
        self.codec, self.distance = codec, MelDistance(codec.sample_rate)
        self.sample_rate, self.hop_size, self.vocab_id = codec.sample_rate, codec.hop_size, vocab_id

    def decode(self, units: Units, style: Style, generator: torch.Generator, durations: Tensor | None = None) -> Audio:
        """Waveforms of `units`, a hop of samples for each; nothing is drawn, and `style` is not looked at.

        Raises `WeightsError` for units of another vocabulary, `ContractError` for other codebooks or another layout,
        `DataError` for a unit out of range, an empty row or bad durations.
        """
        rows = self._frames(units, durations)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            waves = [sound_of(self.codec.sound(self.codec.vectors(row[None]))[0]) for row in rows]
        lengths = torch.tensor([len(wave) for wave in waves], device=self.device)
        return Audio(pad_sequence(waves, batch_first=True), lengths, self.sample_rate)

    def style_vectors(self, audio: Audio) -> None:
        """None: it takes no style."""

    def training_forward(self, batch: VoiceBatch, generator: torch.Generator) -> VoiceOutput:
        """The mel distance of a second of every row, at a place drawn from `generator`."""
        rows, hop = self._frames(batch.units, batch.durations), self.hop_size  # [K, F] each
        counts = [min(row.shape[1], int(n) // hop) for row, n in zip(rows, batch.audio.lengths, strict=True)]
        if min(counts) < 1:
            raise DataError(f"A recording is shorter than a unit of {hop} samples; leave it out.")
        size = min(max(1, round(SEGMENT_S * self.sample_rate / hop)), *counts)
        starts = [int(torch.randint(count - size + 1, (), generator=generator)) for count in counts]
        codes = torch.stack([row[:, at : at + size] for row, at in zip(rows, starts, strict=True)])  # [B, K, F]
        waves = zip(batch.audio.wave, starts, strict=True)
        real = torch.stack([wave[at * hop : (at + size) * hop] for wave, at in waves])  # [B, S]
        fake = self.codec.sound(self.codec.vectors(codes))  # [B, S]
        mel = self.distance(real, fake, torch.full((len(rows),), real.shape[1], device=real.device))
        return VoiceOutput(real[:, None], fake[:, None], Losses(mel, {"mel": mel.detach()}))

    def make_discriminator(self) -> None:
        """None: transformers has no adversary for its codecs, and the decoder learns from mel distances alone."""

    def _frames(self, units: Units, durations: Tensor | None) -> list[Tensor]:
        """The codes [K, F] of every row, each as many times as it lasts. Raises as `decode` does."""
        codes = own_codes(units, self.codec.sizes, self.vocab_id, self.name).to(self.device)
        return frames_of_codes(codes, units.lengths, durations)


def voice_contract(sample_rate: int, hop_size: int, codebooks: Any, vocab_id: Any, causal: bool) -> Contract:
    """Units in, audio out; a style that is wired here says nothing."""
    sizes = codebooks if isinstance(codebooks, Free) else tuple(codebooks)
    rate = Fraction(sample_rate, hop_size)
    return Contract(
        needs={"units": UnitsPort(codebooks=sizes, rate=rate, layout="frame", vocab_id=vocab_id)},
        gives={"audio": AudioPort(sample_rate=sample_rate)},
        ignores=frozenset({"style"}),
        causal=causal,
    )
