"""`detokenizer/encodec`: the residual codes of EnCodec → waveform.

Letters: B batch, K codebooks, T units, F frames (one a unit where no durations are given), D width, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from encodec.msstftd import MultiScaleSTFTDiscriminator
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from omnikit import DERIVED, AudioPort, Contract, UnitsPort
from omnikit.contracts import Free
from omnikit.errors import DataError
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch, VoiceOutput, sound_of
from omnikit.slots.units import check_known, frames_of_codes, own_codes
from omnikit.types import Audio, Losses, Style, Units
from omnikit_encodec.networks import SAMPLE_RATE, hop_of, make_decoder, make_quantizer, rate_of, vectors_of
from omnikit_encodec.objective import Reconstruction

SEGMENT_FRAMES = 75
"""Of a training step: a second at 75 Hz."""


class EncodecDetokenizer(Detokenizer):
    """EnCodec's decoder. Who speaks, and how, is in the codes: a style is not applicable.

    Args:
        codebooks: sizes of the tokenizer's codebooks, derived in a system.
        vocab_id: the unit vocabulary it was trained for, derived in a system.
        dim: width of the codes.
        num_filters: channels of the last layer; every stride before it doubles them.
        ratios: strides.

    Rows are made one by one: the package mirrors the first steps of what it is given, so that a short row of a batch
    would not be what it is alone. Durations repeat the codes of a unit, a plain slowing down.

    Contract: units of EnCodec, 75 a second → 24 kHz mono; style is ignored.
    Raises: `WeightsError` for units of another vocabulary.
    Ref: Défossez et al., "High Fidelity Neural Audio Compression", TMLR 2023 (arXiv 2210.13438), whose modules
        `SEANetDecoder`, `ResidualVectorQuantizer` and `MultiScaleSTFTDiscriminator` these are.
    """

    def __init__(
        self,
        codebooks: Sequence[int] = DERIVED,
        vocab_id: str = DERIVED,
        dim: int = 128,
        num_filters: int = 32,
        ratios: Sequence[int] = (8, 5, 4, 2),
    ) -> None:
        super().__init__()
        check_known("detokenizer/encodec", codebooks, vocab_id)
        self.sizes, self.vocab_id = tuple(codebooks), vocab_id
        self.sample_rate, self.hop_size = SAMPLE_RATE, hop_of(ratios)
        self.quantizer = make_quantizer(self.sizes, dim)
        self.decoder = make_decoder(dim, num_filters, ratios)
        self.reconstruction = Reconstruction(SAMPLE_RATE)

    @classmethod
    def contract(cls, codebooks: Any, vocab_id: Any, ratios: Sequence[int], **_: Any) -> Contract:
        """Units in, audio at 24 kHz out; a style that is wired here says nothing."""
        sizes = codebooks if isinstance(codebooks, Free) else tuple(codebooks)
        return Contract(
            needs={"units": UnitsPort(codebooks=sizes, rate=rate_of(ratios), layout="frame", vocab_id=vocab_id)},
            gives={"audio": AudioPort(sample_rate=SAMPLE_RATE)},
            ignores=frozenset({"style"}),
            causal=True,
        )

    def decode(self, units: Units, style: Style, generator: torch.Generator, durations: Tensor | None = None) -> Audio:
        """Waveforms of `units`, a hop of samples for each; nothing is drawn, and `style` is not looked at.

        Raises `WeightsError` for units of another vocabulary, `ContractError` for other codebooks or another layout,
        `DataError` for a unit out of range, an empty row or bad durations.
        """
        rows = self._frames(units, durations)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            waves = [sound_of(self.decoder(vectors_of(self.quantizer, row[None]))[0, 0]) for row in rows]
        lengths = torch.tensor([len(wave) for wave in waves], device=self.device)
        return Audio(pad_sequence(waves, batch_first=True), lengths, SAMPLE_RATE)

    def style_vectors(self, audio: Audio) -> None:
        """None: it takes no style."""

    def training_forward(self, batch: VoiceBatch, generator: torch.Generator) -> VoiceOutput:
        """The reconstruction of a second of every row, at a place drawn from `generator`."""
        rows = self._frames(batch.units, batch.durations)  # [K, F] each
        counts = [min(row.shape[1], int(n) // self.hop_size) for row, n in zip(rows, batch.audio.lengths, strict=True)]
        if min(counts) < 1:
            raise DataError(f"A recording is shorter than a frame of {self.hop_size} samples; leave it out.")
        size = min(SEGMENT_FRAMES, *counts)
        starts = [int(torch.randint(count - size + 1, (), generator=generator)) for count in counts]
        codes = torch.stack([row[:, at : at + size] for row, at in zip(rows, starts, strict=True)])  # [B, K, F]
        waves = zip(batch.audio.wave, starts, strict=True)
        real = torch.stack([wave[at * self.hop_size : (at + size) * self.hop_size] for wave, at in waves])  # [B, S]
        fake = self.decoder(vectors_of(self.quantizer, codes))[:, 0]  # [B, S]
        lengths = torch.full((len(rows),), real.shape[1], device=real.device)
        terms = self.reconstruction(real, fake, lengths)
        losses = Losses(torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()})
        return VoiceOutput(real[:, None], fake[:, None], losses)

    def make_discriminator(self) -> MultiScaleSTFTDiscriminator:
        """The package's judge of spectra at three resolutions; it needs segments of at least 2048 samples."""
        return MultiScaleSTFTDiscriminator(filters=32)

    def _frames(self, units: Units, durations: Tensor | None) -> list[Tensor]:
        """The codes [K, F] of every row, each as many times as it lasts. Raises as `decode` does."""
        codes = own_codes(units, self.sizes, self.vocab_id, "detokenizer/encodec").to(self.device)
        return frames_of_codes(codes, units.lengths, durations)
