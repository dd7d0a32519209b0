"""tokenizer/spiral_fsq: SPIRAL encoder, finite scalar quantisation, and a CTC head that keeps the units phonetic.

Letters: B batch, S samples, T units, D encoder width, d quantised dimensions, V phones, N target phones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from omnikit.contracts import AudioPort, Contract, UnitsPort
from omnikit.errors import ContractError, MediaError, OmnikitError
from omnikit.nn.ctc import ConvCTCDecoder, ctc_greedy, ctc_losses
from omnikit.nn.fsq import FSQ
from omnikit.nn.logmel import LogMel
from omnikit.nn.spiral import SpiralEncoder, spiral_blocks, valid_steps
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.types import Audio, Frames, Layout, Losses, Units

SAMPLE_RATE = 16_000
HOP_SIZE = 160
STRIDE = 4
RATE = Fraction(SAMPLE_RATE, HOP_SIZE * STRIDE)
UNTRAINED = "untrained"


class SpiralFSQ(SpeechTokenizer):
    """Speech → units at 25 Hz that say what is spoken, not how: the tokenizer of EMOVA.

    The defaults are the published size (94.7 M parameters) and its state-dict names.

    Args:
        num_mels: bands of the log-mel front end.
        widths: outputs of the four convolution stages; the second and fourth are the transformers' widths.
        layers, heads: depth and attention heads of the two transformers.
        ffn_ratio: their inner width over their width.
        position: taps and groups of the convolution that tells positions.
        levels: quantiser levels a dimension; their product is the number of units.
        num_phones: classes of the CTC head; the blank comes after them.
        decoder_dim: width of the CTC head.
        dropout, layer_drop: training noise; layers are dropped in the second transformer only.
        auxiliary_ctc: weight of a second CTC loss before the bottleneck, which helps small models to start; its linear
            head exists only above 0.
        reduced: merge runs of equal units and keep their durations beside them.
        vocab_id: name of the ids' meaning, set from the weights.

    Contract: 16 kHz mono → prod(levels) units at 25 Hz. Offline: normalisation and attention see the whole utterance.
    Raises: `OmnikitError` for sizes that do not fit each other, `MediaError` for audio it cannot read,
        `ContractError` for units of another vocabulary.
    Ref: Chen et al., "EMOVA: Empowering Language Models to See, Hear and Speak with Vivid Emotions", CVPR 2025.
    Example: `omnikit.create("tokenizer/spiral_fsq", layers=[1, 2]).encode(audio).codes`
    """

    def __init__(
        self,
        num_mels: int = 128,
        widths: Sequence[int] = (384, 512, 1536, 768),
        layers: Sequence[int] = (2, 10),
        heads: Sequence[int] = (8, 12),
        ffn_ratio: int = 4,
        position: Sequence[int] = (128, 16),
        levels: Sequence[int] = (8, 8, 8, 8),
        num_phones: int = 240,
        decoder_dim: int = 512,
        dropout: float = 0.1,
        layer_drop: float = 0.1,
        auxiliary_ctc: float = 0.0,
        reduced: bool = True,
        vocab_id: str = UNTRAINED,
    ) -> None:
        super().__init__()
        _check_sizes(widths, layers, heads, position)
        taps, groups = position
        blocks = spiral_blocks(num_mels, widths, layers, heads, ffn_ratio, taps, groups, dropout, layer_drop)
        self.encoder = SpiralEncoder(LogMel(num_mels, SAMPLE_RATE, HOP_SIZE), blocks)
        self.pre_quant = nn.Linear(widths[-1], len(levels))
        self.quantizer = FSQ(levels)
        self.decoder = ConvCTCDecoder(len(levels), decoder_dim, num_phones, dropout)
        self.auxiliary_ctc = auxiliary_ctc
        self.auxiliary = nn.Linear(widths[-1], num_phones + 1) if auxiliary_ctc > 0 else None
        self.num_phones = num_phones
        self.layout: Layout = "reduced" if reduced else "frame"
        self.vocab_id = vocab_id

    @classmethod
    def contract(
        cls,
        levels: Sequence[int] = (8, 8, 8, 8),
        reduced: bool = True,
        vocab_id: str = UNTRAINED,
        **_: Any,
    ) -> Contract:
        """16 kHz mono → prod(levels) units at 25 Hz."""
        units = UnitsPort(
            codebooks=(math.prod(levels),),
            rate=RATE,
            layout="reduced" if reduced else "frame",
            vocab_id=vocab_id,
        )
        return Contract(needs={"audio": AudioPort(sample_rate=SAMPLE_RATE)}, gives={"units": units})

    @property
    def sizes(self) -> tuple[int]:
        """How many units there are."""
        return (self.quantizer.num_codes,)

    def encode(self, audio: Audio) -> Units:
        """Units [B, 1, T] of 16 kHz waveforms, `ceil(ceil(samples / 160) / 4)` a row before runs are merged.

        Runs as in evaluation, in float32 and without gradients, whatever mode the module is in; padding is 0.
        """
        with self._evaluating():
            steps, lengths = self._steps(audio)
            _, ids = self.quantizer(self.pre_quant(steps))
            ids = ids * valid_steps(lengths, ids.shape[1])  # [B, T]
        durations = None
        if self.layout == "reduced":
            ids, lengths, durations = merge_runs(ids, lengths)
        return Units(ids[:, None], lengths, self.sizes, RATE, self.vocab_id, self.layout, durations)

    def embed(self, units: Units) -> Frames:
        """The quantiser's codes in [-1, 1) that units stand for: [B, T, d]; without a rate where runs are merged."""
        if units.sizes != self.sizes or units.vocab_id != self.vocab_id:
            raise ContractError(
                f"These units ({list(units.sizes)} ids of '{units.vocab_id}') are not this tokenizer's.\n"
                f"Accepted: {list(self.sizes)} ids of '{self.vocab_id}'. Encode the audio with this tokenizer."
            )
        if bool(((units.codes < 0) | (units.codes >= self.sizes[0])).any()):
            raise OmnikitError(f"Unit ids must lie in 0..{self.sizes[0] - 1}; set padding to 0.")
        codes = self.quantizer.codes_from_ids(units.codes[:, 0])
        return Frames(codes, units.lengths, units.rate if units.layout == "frame" else None)

    def loss(self, audio: Audio, phones: Tensor, phone_lengths: Tensor) -> Losses:
        """CTC of the phones through the quantiser, plus `auxiliary_ctc` times the same before it.

        Each is the mean over rows of the loss per target phone, so that long rows do not outweigh short ones
        (the published training summed over a row instead).
        """
        steps, lengths = self._steps(audio)
        codes, _ = self.quantizer(self.pre_quant(steps))
        per_phone = phone_lengths.clamp(min=1)

        def ctc(logits: Tensor) -> Tensor:
            return (ctc_losses(logits, lengths, phones, phone_lengths) / per_phone).mean()

        total = ctc(self.decoder(codes, lengths))
        parts = {"ctc": total.detach()}
        if self.auxiliary is not None:
            auxiliary = ctc(self.auxiliary(steps))
            parts["auxiliary_ctc"] = auxiliary.detach()
            total = total + self.auxiliary_ctc * auxiliary
        return Losses(total, parts)

    def read_phones(self, audio: Audio) -> list[list[int]]:
        """Phone indices that the CTC head reads back from the units of each row."""
        with self._evaluating():
            steps, lengths = self._steps(audio)
            codes, _ = self.quantizer(self.pre_quant(steps))
            return ctc_greedy(self.decoder(codes, lengths), lengths)

    def _steps(self, audio: Audio) -> tuple[Tensor, Tensor]:
        """Encoder steps [B, T, D] and their lengths [B]."""
        _check_audio(audio)
        longest = int(audio.lengths.max())
        return self.encoder(audio.wave[:, :longest], audio.lengths.long())

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode, float32, no gradients; every module's own mode comes back afterwards."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                yield
        finally:
            for module, training in modes:
                module.training = training


def merge_runs(ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Merge runs of equal units: ids [B, T] → ids [B, T'], lengths [B], durations [B, T'] in steps (0 is padding)."""
    valid = valid_steps(lengths, ids.shape[1])
    starts = valid.clone()
    starts[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    place = starts.cumsum(1) - 1  # [B, T] → index of the run
    merged_lengths = starts.sum(1)
    shape = (ids.shape[0], int(merged_lengths.max()))
    durations = ids.new_zeros(shape).scatter_add(1, place.clamp(max=shape[1] - 1), valid.long())
    merged = ids.new_zeros(shape).scatter_reduce(1, place, ids * valid, "amax")
    return merged, merged_lengths, durations


def _check_sizes(widths: Sequence[int], layers: Sequence[int], heads: Sequence[int], position: Sequence[int]) -> None:
    counts = {"widths": (widths, 4), "layers": (layers, 2), "heads": (heads, 2), "position": (position, 2)}
    for name, (given, count) in counts.items():
        if len(given) != count:
            raise OmnikitError(f"tokenizer/spiral_fsq takes {count} numbers as {name}, not {list(given)}.")
    for width, head_count in zip((widths[1], widths[3]), heads, strict=True):
        for name, divisor in (("heads", head_count), ("position groups", position[1])):
            if width % divisor:
                raise OmnikitError(
                    f"A transformer of width {width} cannot be split into {divisor} {name}.\n"
                    f"Give widths[1] = {widths[1]} and widths[3] = {widths[3]} that its heads and position[1] divide."
                )


def _check_audio(audio: Audio) -> None:
    if audio.sample_rate != SAMPLE_RATE:
        raise MediaError(
            f"tokenizer/spiral_fsq reads audio at {SAMPLE_RATE} Hz, not {audio.sample_rate} Hz; resample it first."
        )
    if audio.wave.dim() != 2 or audio.lengths.shape != audio.wave.shape[:1]:
        raise MediaError(
            f"Audio of shape {list(audio.wave.shape)} with lengths {list(audio.lengths.shape)}; "
            "accepted: wave [B, S] with lengths [B]."
        )
    if not audio.wave.numel() or int(audio.lengths.min()) < 1 or int(audio.lengths.max()) > audio.wave.shape[1]:
        raise MediaError(
            f"Audio lengths {audio.lengths.tolist()} for {audio.wave.shape[1]} samples a row.\n"
            "Every row needs at least 1 sample and no more than the tensor holds."
        )
    if not bool(torch.isfinite(audio.wave).all()):
        raise MediaError("The audio holds samples that are not finite (NaN or infinity); check the file it came from.")
