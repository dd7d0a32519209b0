"""`detokenizer/unit_hifigan`: units → waveform by SpeechBrain's unit HiFi-GAN.

Letters: B batch, K codebooks, T units, F frames, E width of a unit's vector, S samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from omnikit import DERIVED, AudioPort, Contract, UnitsPort
from omnikit.contracts import Free
from omnikit.errors import DataError, OmnikitError, unknown_name
from omnikit.nn.spectrogram import Spectrogram
from omnikit.slots.detokenizer import Detokenizer, VoiceBatch, VoiceOutput, sound_of
from omnikit.slots.units import check_known, frames_of_codes, own_codes
from omnikit.types import Audio, Losses, Style, Units
from omnikit_speechbrain.upstream import HifiganDiscriminator, UnitHifiganGenerator

NAME = "detokenizer/unit_hifigan"
LAYOUTS = ("frame", "reduced")
SEGMENT_FRAMES = 28
"""Of a training step: 8960 samples at a hop of 320, as published."""
_MEL_WEIGHT = 45.0
_FFT, _HOP, _BANDS = 1024, 256, 80
_ENDS_KERNEL = 7


class UnitHifigan(Detokenizer):
    """A HiFi-GAN that reads units. The voice is the one it was trained on: a style is not applicable.

    Args:
        codebooks: sizes of the tokenizer's codebooks, derived in a system; several are pooled by attention.
        vocab_id: the unit vocabulary it was trained for, derived in a system.
        layout: `frame`, a unit for every hop of samples; `reduced`, merged runs, whose lengths it predicts.
        dim: width of a unit's vector.
        channels: of the first layer; every stride halves them.
        ratios, kernels: strides of the transposed convolutions, and their taps, an even number more.
        res_kernels, dilations: of the residual blocks behind each, and of the convolutions within one.
        predictor_dim: width of what predicts durations (and of the pooling of several codebooks).
        sample_rate: of the sound in Hz.

    Rows are made one by one: the package mirrors the ends of what it is given. Rows of fewer units than it can mirror
    (6 at these sizes) are made longer by their last unit and cut afterwards.

    Contract: units at `sample_rate` over the product of `ratios` → mono audio at `sample_rate`; style is ignored.
    Raises: `WeightsError` for units of another vocabulary.
    Ref: Polyak et al., "Speech Resynthesis from Discrete Disentangled Self-Supervised Representations", Interspeech
        2021 (arXiv 2104.00355); several codebooks: Mousavi et al., 2024 (arXiv 2406.10735); the modules are
        SpeechBrain's `UnitHifiganGenerator` and `HifiganDiscriminator`.
    """

    first: Tensor

    def __init__(
        self,
        codebooks: Sequence[int] = DERIVED,
        vocab_id: str = DERIVED,
        layout: Literal["frame", "reduced"] = "frame",
        dim: int = 128,
        channels: int = 512,
        ratios: Sequence[int] = (5, 4, 4, 2, 2),
        kernels: Sequence[int] = (11, 8, 8, 4, 4),
        res_kernels: Sequence[int] = (3, 7, 11),
        dilations: Sequence[int] = (1, 3, 5),
        predictor_dim: int = 128,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        check_known(NAME, codebooks, vocab_id)
        _check_sizes(layout, codebooks, channels, ratios, kernels, res_kernels)
        self.sizes, self.vocab_id, self.layout = tuple(codebooks), vocab_id, layout
        self.sample_rate, self.hop_size = sample_rate, math.prod(ratios)
        self.least_frames = _least_frames(ratios, res_kernels, dilations)
        first = [sum(self.sizes[:book]) + 1 for book in range(len(self.sizes))]  # row 0 is SpeechBrain's padding
        self.register_buffer("first", torch.tensor(first)[:, None], persistent=False)  # [K, 1]
        self.generator = UnitHifiganGenerator(
            in_channels=dim,
            out_channels=1,
            resblock_type="1",
            resblock_dilation_sizes=[list(dilations)] * len(res_kernels),
            resblock_kernel_sizes=list(res_kernels),
            upsample_kernel_sizes=list(kernels),
            upsample_initial_channel=channels,
            upsample_factors=list(ratios),
            vocab_size=sum(self.sizes) + 1,
            embedding_dim=dim,
            attn_dim=predictor_dim,
            duration_predictor=layout == "reduced",
            var_pred_hidden_dim=predictor_dim,
            pooling_type="none" if len(self.sizes) == 1 else "attention",
        )
        self.generator.duration_predictor = False  # the network stays; when it is asked is decided here
        self.spectrogram = Spectrogram(sample_rate, _FFT, _HOP, _BANDS, 0.0, sample_rate / 2)

    @classmethod
    def contract(
        cls, codebooks: Any, vocab_id: Any, layout: str, ratios: Sequence[int], sample_rate: int, **_: Any
    ) -> Contract:
        """Units in, audio out; a style that is wired here says nothing."""
        sizes = codebooks if isinstance(codebooks, Free) else tuple(codebooks)
        rate = Fraction(sample_rate, math.prod(ratios))
        return Contract(
            needs={"units": UnitsPort(codebooks=sizes, rate=rate, layout=layout, vocab_id=vocab_id)},
            gives={"audio": AudioPort(sample_rate=sample_rate)},
            ignores=frozenset({"style"}),
        )

    def decode(self, units: Units, style: Style, generator: torch.Generator, durations: Tensor | None = None) -> Audio:
        """Waveforms of `units`, a hop of samples a frame; nothing is drawn, and `style` is not looked at.

        Merged units last as long as it predicts, others one frame, where no `durations` say more. Raises
        `WeightsError` for units of another vocabulary, `ContractError` for other codebooks or another layout,
        `DataError` for a unit out of range, an empty row or bad durations.
        """
        codes = self._own(units)
        with self._evaluating():
            if durations is None and self.layout == "reduced":
                durations = self._predicted(codes, units.lengths)
            rows = frames_of_codes(codes, units.lengths, durations)
            waves = [sound_of(self._sound(row)) for row in rows]
        lengths = torch.tensor([len(wave) for wave in waves], device=self.device)
        return Audio(pad_sequence(waves, batch_first=True), lengths, self.sample_rate)

    def style_vectors(self, audio: Audio) -> None:
        """None: it takes no style."""

    def training_forward(self, batch: VoiceBatch, generator: torch.Generator) -> VoiceOutput:
        """45 times the mel error of a segment of every row, at a place drawn from `generator`, and that of durations.

        Raises `DataError` for a recording shorter than it can make, and for merged units without durations.
        """
        codes, hop = self._own(batch.units), self.hop_size
        if batch.durations is None and self.layout == "reduced":
            raise DataError(
                f"{NAME} with layout 'reduced' learns how long units last, and the batch has no durations.\n"
                "Give VoiceBatch.durations (frames per unit), or train on units in layout 'frame'."
            )
        rows = frames_of_codes(codes, batch.units.lengths, batch.durations)  # [K, F] each
        counts = [min(row.shape[1], int(n) // hop) for row, n in zip(rows, batch.audio.lengths, strict=True)]
        if min(counts) < self.least_frames:
            raise DataError(f"A recording is shorter than {self.least_frames} frames of {hop} samples; leave it out.")
        size = min(SEGMENT_FRAMES, *counts)
        starts = [int(torch.randint(count - size + 1, (), generator=generator)) for count in counts]
        cut = torch.stack([row[:, at : at + size] for row, at in zip(rows, starts, strict=True)])  # [B, K, F]
        waves = zip(batch.audio.wave, starts, strict=True)
        real = torch.stack([wave[at * hop : (at + size) * hop] for wave, at in waves])  # [B, S]
        fake = self._waves(cut)  # [B, S]
        parts = {"mel": _MEL_WEIGHT * self._mel_error(real, fake)}
        if self.layout == "reduced" and batch.durations is not None:
            parts["duration"] = self._duration_error(codes, batch.units.lengths, batch.durations)
        total = torch.stack(list(parts.values())).sum()
        losses = Losses(total, {name: part.detach() for name, part in parts.items()})
        return VoiceOutput(real[:, None], fake[:, None], losses)

    def make_discriminator(self) -> HifiganDiscriminator:
        """The package's judges of periods and scales."""
        return HifiganDiscriminator()

    def _own(self, units: Units) -> Tensor:
        """The codes [B, K, T] of its units. Raises as `decode` does."""
        return own_codes(units, self.sizes, self.vocab_id, NAME, self.layout).to(self.device)

    def _sound(self, row: Tensor) -> Tensor:
        """The samples [S] of one row [K, F]."""
        count = row.shape[1]
        longer = functional.pad(row[None].float(), (0, max(0, self.least_frames - count)), mode="replicate")
        return self._waves(longer.long())[0, : count * self.hop_size]

    def _waves(self, codes: Tensor) -> Tensor:
        """Frames of codes [B, K, F] → waves [B, S]."""
        return self.generator((codes + self.first).transpose(1, 2))[0][:, 0]

    def _predicted(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """The frames of every unit [B, T], 1 or more, of codes [B, 1, T]."""
        rows = [
            (self._log_frames(row[:, :length]).exp() - 1).round().long().clamp(min=1)
            for row, length in zip(codes, lengths.tolist(), strict=True)
        ]
        return functional.pad(pad_sequence(rows, batch_first=True), (0, codes.shape[-1] - int(lengths.max())))

    def _log_frames(self, row: Tensor) -> Tensor:
        """log(1 + frames) [T] of the units of one row [1, T]; the package's network mirrors its ends, so 2 are read."""
        count = row.shape[1]
        longer = row.expand(2, -1).T.reshape(1, -1) if count == 1 else row  # [1, T]
        return self.generator.var_predictor(self.generator.unit_embedding(longer + self.first))[0, :count]

    def _duration_error(self, codes: Tensor, lengths: Tensor, durations: Tensor) -> Tensor:
        """The squared error of log(1 + frames), a mean over units and then over rows."""
        errors = []
        for row, told, length in zip(codes, durations.to(codes.device), lengths.tolist(), strict=True):
            wanted = torch.log1p(told[:length].float())
            errors.append((self._log_frames(row[:, :length]).float() - wanted).square().mean())
        return torch.stack(errors).mean()

    def _mel_error(self, real: Tensor, fake: Tensor) -> Tensor:
        """The mean absolute error of log-mel bands of waves [B, S]."""
        lengths = torch.full((len(real),), real.shape[1], device=real.device)
        one, other = (self.spectrogram.log_mel(self.spectrogram.linear(wave, lengths)[0]) for wave in (real, fake))
        return (one - other).abs().mean()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode, float32, no gradients; every module's own mode comes back afterwards."""
        training = [module for module in self.modules() if module.training]
        for module in training:
            module.training = False
        try:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                yield
        finally:
            for module in training:
                module.training = True


def _least_frames(ratios: Sequence[int], res_kernels: Sequence[int], dilations: Sequence[int]) -> int:
    """Frames of the shortest row whose ends every convolution can mirror."""
    reach = max(res_kernels) // 2 * max(dilations)
    least = [_ENDS_KERNEL // 2 + 1]
    least += [reach // math.prod(ratios[: stage + 1]) + 1 for stage in range(len(ratios))]
    return max(least)


def _check_sizes(
    layout: str,
    codebooks: Sequence[int],
    channels: int,
    ratios: Sequence[int],
    kernels: Sequence[int],
    res_kernels: Sequence[int],
) -> None:
    """Raise `OmnikitError` for sizes that do not fit each other."""
    if layout not in LAYOUTS:
        raise unknown_name(f"layout of {NAME}", layout, LAYOUTS)
    if layout == "reduced" and len(codebooks) > 1:
        raise OmnikitError(f"{NAME} predicts how long units of one codebook last; {len(codebooks)} were given.")
    if not ratios or len(ratios) != len(kernels) or channels % 2 ** len(ratios):
        raise OmnikitError(
            f"{list(ratios)} ratios, {list(kernels)} kernels and {channels} channels do not fit:\n"
            "give as many kernels as ratios, and channels that can be halved by each."
        )
    if any(kernel < ratio or (kernel - ratio) % 2 for ratio, kernel in zip(ratios, kernels, strict=True)):
        raise OmnikitError(f"kernels {list(kernels)} must be the ratios {list(ratios)} plus an even number each.")
    if not res_kernels or any(kernel % 2 == 0 for kernel in res_kernels):
        raise OmnikitError(f"res_kernels are {list(res_kernels)}; give odd numbers of taps.")
