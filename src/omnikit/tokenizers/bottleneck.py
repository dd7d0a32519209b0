"""tokenizer/bottleneck: an encoder, a bottleneck that makes units, and heads that say what must pass through it.

Letters: B batch, S samples, T units, D encoder width, d quantised dimensions, V classes, N target labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from omnikit.contracts import AudioPort, Contract, UnitsPort
from omnikit.errors import ContractError, OmnikitError, unknown_name
from omnikit.nn.ctc import ConvCTCDecoder, ctc_greedy, ctc_losses
from omnikit.nn.fsq import FSQ
from omnikit.nn.hf_speech import HFSpeech, HFSpeechSizes, facts_of
from omnikit.nn.kmeans import ContinuousBottleneck
from omnikit.nn.logmel import LogMel
from omnikit.nn.quantizer import Quantizer
from omnikit.nn.reconstruction import MelReconstruction
from omnikit.nn.spiral import SpiralEncoder, spiral_blocks, valid_steps
from omnikit.nn.spiral_windows import Windows, window_steps
from omnikit.nn.vq import VectorQuantizer
from omnikit.slots.graph import Graph, GraphInput
from omnikit.slots.groups import plain, read_group
from omnikit.slots.published import AroundPublished
from omnikit.slots.sound import check_audio
from omnikit.slots.tokenizer import FrameEncoder, LabelKind, SpeechTokenizer
from omnikit.slots.unit_stream import Live
from omnikit.tokenizers.bottleneck_graph import EncodingGraph
from omnikit.tokenizers.sizes import (
    ContinuousSizes,
    FSQSizes,
    HeadSizes,
    SpiralSizes,
    VQSizes,
    check_spiral,
)
from omnikit.types import Audio, Frames, Layout, Losses, Units

SAMPLE_RATE = 16_000
HOP_SIZE = 160
STRIDE = 4
RATE = Fraction(SAMPLE_RATE, HOP_SIZE * STRIDE)
UNTRAINED = "untrained"

ENCODERS = ("spiral", "hf")
QUANTIZERS = ("fsq", "vq", "none")
LABELS_OF: Mapping[str, LabelKind] = {"ctc_phone": "phones", "ctc_char": "characters", "mel_reconstruction": "nothing"}
"""Kinds of supervision and the labels that each learns from."""

SPIRAL = plain(SpiralSizes())
HF = plain(HFSpeechSizes(stride=2))
"""Two steps of 20 ms are averaged, so that units come at SPIRAL's 25 Hz and only the encoder differs."""
FSQ_GROUP = plain(FSQSizes())
VQ = plain(VQSizes())
CONTINUOUS = plain(ContinuousSizes())
HEADS = plain(HeadSizes())


class BottleneckTokenizer(AroundPublished, SpeechTokenizer):
    """Speech → units whose encoder, quantiser and supervision are each one word of the configuration.

    The axes are values of one component, not a component each: two encoders, three quantisers and five supervisions
    would be thirty ids of one algorithm, and a study that changes one thing must not change another by changing class.
    `tokenizer/spiral_fsq` is the point of this space that was published, under its own flat and frozen parameters;
    named points are variants in `conf/tokenizer` (`spiral_vq`, `hubert_fsq` …), so that they can be swept by name.
    Groups that are not chosen are ignored.

    Args:
        encoder: `spiral`, or `hf`, an encoder of the transformers library.
        spiral, hf: their sizes (`SpiralSizes` in `tokenizers.sizes`, `HFSpeechSizes` in `nn.hf_speech`).
        quantizer: `fsq`; `vq`, a learned codebook; or `none`, the control: it trains without quantisation, and units
            are the nearest of k-means clusters that `fit_units` finds after training.
        fsq, vq, continuous: their sizes.
        supervision: what the codes must tell: one of `ctc_phone` and `ctc_char`, and `mel_reconstruction`, or both
            kinds; their losses are added.
        heads: sizes of the heads; `auxiliary_ctc` needs a CTC supervision.
        reduced: merge runs of equal units and keep their durations beside them.
        vocab_id: name of the ids' meaning, set from the weights.

    Contract: 16 kHz mono → units at the encoder's rate. Offline: attention sees the whole utterance; SPIRAL reads
        recordings beyond `windows.longest_s` in overlapping windows. Live: `stream`.
    Raises: `OmnikitError` for choices and sizes that do not fit each other, `MediaError` for audio it cannot read,
        `ContractError` for units of another vocabulary.
    Ref: Chen et al., "EMOVA", CVPR 2025; the quantisers and encoders are cited where they are written.
    Example: `omnikit.create("tokenizer/bottleneck", quantizer="vq").encode(audio).codes`
    """

    model_group = "hf"
    windows: Windows = Windows()
    """How SPIRAL reads what is too long to be read whole; may be set at any time."""

    def __init__(
        self,
        encoder: Literal["spiral", "hf"] = "spiral",
        spiral: Mapping[str, Any] = SPIRAL,
        hf: Mapping[str, Any] = HF,
        quantizer: Literal["fsq", "vq", "none"] = "fsq",
        fsq: Mapping[str, Any] = FSQ_GROUP,
        vq: Mapping[str, Any] = VQ,
        continuous: Mapping[str, Any] = CONTINUOUS,
        supervision: Sequence[str] = ("ctc_phone",),
        heads: Mapping[str, Any] = HEADS,
        reduced: bool = True,
        vocab_id: str = UNTRAINED,
    ) -> None:
        super().__init__()
        self.labels = _labels_of(supervision)
        head = read_group(HeadSizes, "heads", heads)
        if head.auxiliary_ctc > 0 and self.labels == "nothing":
            raise OmnikitError(
                "heads.auxiliary_ctc is a CTC loss, and the supervision has none.\n"
                "Set heads.auxiliary_ctc=0, or add ctc_phone or ctc_char to the supervision."
            )
        self.rate = _rate(encoder, hf)
        self.encoder, width = _make_encoder(encoder, spiral, hf)
        bottleneck = _make_quantizer(quantizer, fsq, vq, continuous)
        self.pre_quant = nn.Linear(width, bottleneck.dim)
        self.quantizer = bottleneck
        self.is_fitted_afterwards = bottleneck.is_fitted_afterwards
        reads, self.num_classes = self.labels != "nothing", head.num_classes
        self.decoder = ConvCTCDecoder(bottleneck.dim, head.dim, head.num_classes, head.dropout) if reads else None
        self.auxiliary_ctc = head.auxiliary_ctc
        self.auxiliary = nn.Linear(width, head.num_classes + 1) if head.auxiliary_ctc > 0 else None
        self.mel_decoder = (
            MelReconstruction(bottleneck.dim, head.dim, head.num_mels, self.rate, head.dropout)
            if "mel_reconstruction" in supervision
            else None
        )
        self.layout: Layout = "reduced" if reduced else "frame"
        self.vocab_id = vocab_id

    @classmethod
    def contract(
        cls,
        encoder: str = "spiral",
        hf: Mapping[str, Any] = HF,
        quantizer: str = "fsq",
        fsq: Mapping[str, Any] = FSQ_GROUP,
        vq: Mapping[str, Any] = VQ,
        continuous: Mapping[str, Any] = CONTINUOUS,
        reduced: bool = True,
        vocab_id: str = UNTRAINED,
        **_: Any,
    ) -> Contract:
        """16 kHz mono → units of the quantiser at the encoder's rate."""
        units = UnitsPort(
            codebooks=(_num_units(quantizer, fsq, vq, continuous),),
            rate=_rate(encoder, hf),
            layout="reduced" if reduced else "frame",
            vocab_id=vocab_id,
        )
        return Contract(
            needs={"audio": AudioPort(sample_rate=SAMPLE_RATE)},
            gives={"units": units},
            lookahead_ms=Live().lookahead_ms,
        )

    @property
    def sizes(self) -> tuple[int]:
        """How many units there are."""
        return (self.quantizer.num_codes,)

    def encode(self, audio: Audio) -> Units:
        """Units [B, 1, T] of 16 kHz waveforms; SPIRAL gives `ceil(ceil(samples / 160) / 4)` a row before runs merge.

        Runs as in evaluation, in `precision` and without gradients, whatever mode the module is in; padding is 0.
        """
        with self._evaluating():
            _, ids, lengths = self._read(audio)
        durations = None
        if self.layout == "reduced":
            ids, lengths, durations = merge_runs(ids, lengths)
        return Units(ids[:, None], lengths, self.sizes, self.rate, self.vocab_id, self.layout, durations)

    def embed(self, units: Units) -> Frames:
        """The quantiser's codes that units stand for: [B, T, d]; without a rate where runs are merged."""
        if units.sizes != self.sizes or units.vocab_id != self.vocab_id:
            raise ContractError(
                f"These units ({list(units.sizes)} ids of '{units.vocab_id}') are not this tokenizer's.\n"
                f"Accepted: {list(self.sizes)} ids of '{self.vocab_id}'. Encode the audio with this tokenizer."
            )
        if bool(((units.codes < 0) | (units.codes >= self.sizes[0])).any()):
            raise OmnikitError(f"Unit ids must lie in 0..{self.sizes[0] - 1}; set padding to 0.")
        codes = self.quantizer.codes_from_ids(units.codes[:, 0])
        return Frames(codes, units.lengths, units.rate if units.layout == "frame" else None)

    def features(self, audio: Audio) -> Frames:
        """Encoder steps [B, T, D] before the bottleneck, as in evaluation."""
        with self._evaluating():
            if not self._is_long(audio):
                return Frames(*self._steps(audio), self.rate)
            rows = [torch.cat([steps[0] for steps in self._row_steps(audio, row)]) for row in range(len(audio.lengths))]
        lengths = torch.tensor([len(row) for row in rows], device=audio.wave.device)
        return Frames(pad_sequence(rows, batch_first=True), lengths, self.rate)

    def loss(self, audio: Audio, phones: Tensor, phone_lengths: Tensor) -> Losses:
        """The supervision's losses through the bottleneck, added, and what the quantiser asks for.

        `phones` [B, N] are class indices of what `labels` says (ignored where that is nothing). CTC is the mean over
        rows of the loss per target label, so that long rows do not outweigh short ones (the published training summed
        over a row instead), plus `auxiliary_ctc` times the same before the bottleneck; reconstruction is the mean
        absolute error of log-mel frames.
        """
        steps, lengths = self._steps(audio)
        codes, parts = self.quantizer.learn(self.pre_quant(steps), valid_steps(lengths, steps.shape[1]))
        terms = dict(parts)
        if self.decoder is not None and phones.numel() and int(phones.max()) >= self.num_classes:
            raise OmnikitError(
                f"A label is class {int(phones.max())}, the CTC head has {self.num_classes} classes of {self.labels}.\n"
                "Set the head's number of classes to that of the label set (42 phones, 28 characters of the corpus)."
            )

        def ctc(logits: Tensor) -> Tensor:
            return (ctc_losses(logits, lengths, phones, phone_lengths) / phone_lengths.clamp(min=1)).mean()

        if self.decoder is not None:
            terms["ctc"] = ctc(self.decoder(codes, lengths))
        if self.auxiliary is not None:
            terms["auxiliary_ctc"] = ctc(self.auxiliary(steps))
        if self.mel_decoder is not None:
            terms["mel"] = self.mel_decoder.errors(codes, lengths, audio.wave, audio.lengths.long()).mean()
        total = torch.stack(
            [value * (self.auxiliary_ctc if name == "auxiliary_ctc" else 1.0) for name, value in terms.items()]
        ).sum()
        return Losses(total, {name: value.detach() for name, value in terms.items()})

    def read_labels(self, audio: Audio) -> list[list[int]]:
        """Class indices (phones or characters) that the CTC head reads back from the units of each row.

        Raises `OmnikitError` where the supervision has no CTC, so that nothing reads.
        """
        if self.decoder is None:
            raise OmnikitError(
                "This tokenizer was trained to reconstruct sound, not to be read: it has no phone or character head.\n"
                "Add ctc_phone to its supervision, or read its units with a probe."
            )
        with self._evaluating():
            codes, _, lengths = self._read(audio)
            return ctc_greedy(self.decoder(codes, lengths), lengths)

    def read_phones(self, audio: Audio) -> list[list[int]]:
        """Phone indices read back from the units of each row; `OmnikitError` where the head reads something else."""
        if self.labels == "characters":
            raise OmnikitError("This tokenizer's head reads characters, not phones; read_labels gives those.")
        return self.read_labels(audio)

    def fit_units(self, recordings: Iterable[Audio], generator: torch.Generator) -> None:
        """Find the units of a trained encoder by k-means over the bottleneck's vectors of `recordings`."""
        found = []
        with self._evaluating():
            for audio in recordings:
                steps, lengths = self._steps(audio)
                found.append(self.pre_quant(steps)[valid_steps(lengths, steps.shape[1])])  # [M, d]
            self.quantizer.fit(torch.cat(found), generator)

    def frame_encoder(self) -> FrameEncoder:
        """Front end and encoder for self-supervised pre-training. Raises `OmnikitError` where that is not SPIRAL."""
        encoder = self.encoder
        if not isinstance(encoder, SpiralEncoder):
            return super().frame_encoder()
        return FrameEncoder(self._frames, encoder.feature_encoder, encoder.mask_emb, self.pre_quant.in_features, STRIDE)

    def as_graph(self) -> Graph:
        """`encode` of rows of one length, read whole. Raises `OmnikitError` for an encoder of another library."""
        encoder = self.encoder
        if not isinstance(encoder, SpiralEncoder):
            raise OmnikitError(
                "Only encoder=spiral becomes a graph; an encoder of the transformers library is exported by its own\n"
                "tools, and what follows it here is one linear layer and the quantiser."
            )
        module = EncodingGraph(encoder, self.pre_quant, self.quantizer, self.layout == "reduced")
        wave = GraphInput(torch.zeros(2, SAMPLE_RATE // 2, device=self.device), {0: "num_rows", 1: "num_samples"})
        outputs = ("units", "lengths", "durations") if self.layout == "reduced" else ("units",)
        return Graph(module, {"wave": wave}, outputs)

    def _frames(self, audio: Audio) -> tuple[Tensor, Tensor]:
        """Log-mel frames [B, F, M] and their lengths [B]."""
        check_audio(audio, SAMPLE_RATE, "The tokenizer")
        longest = int(audio.lengths.max())
        mel, lengths = self.encoder.wav2spec["featurizer"](audio.wave[:, :longest], audio.lengths.long())
        return mel.transpose(1, 2), lengths

    def _steps(self, audio: Audio) -> tuple[Tensor, Tensor]:
        """Encoder steps [B, T, D] and their lengths [B]."""
        check_audio(audio, SAMPLE_RATE, "The tokenizer")
        longest = int(audio.lengths.max())
        return self.encoder(audio.wave[:, :longest], audio.lengths.long())

    def _is_long(self, audio: Audio) -> bool:
        """Whether a row is longer than the encoder reads at once."""
        check_audio(audio, SAMPLE_RATE, "The tokenizer")
        longest = int(audio.lengths.max()) / SAMPLE_RATE
        return isinstance(self.encoder, SpiralEncoder) and longest > self.windows.longest_s

    def _row_steps(self, audio: Audio, row: int) -> Iterator[Tensor]:
        """Encoder steps [1, T, D] of one row, in windows where it is long."""
        wave = audio.wave[row, : int(audio.lengths[row])]
        if len(wave) / SAMPLE_RATE > self.windows.longest_s:
            yield from window_steps(self.encoder, wave, self.windows, STRIDE)
        else:
            yield self._steps(Audio(wave[None], audio.lengths[row : row + 1], SAMPLE_RATE))[0]

    def _read(self, audio: Audio) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [B, T, d], ids [B, T] (0 is padding) and their lengths [B]."""
        if not self._is_long(audio):
            steps, lengths = self._steps(audio)
            codes, ids = self._quantized(steps)
            return codes, ids * valid_steps(lengths, ids.shape[1]), lengths
        rows = []
        for row in range(len(audio.lengths)):  # only codes and ids of a long row are ever held, not its steps
            pieces = [self._quantized(steps[0]) for steps in self._row_steps(audio, row)]
            rows.append([torch.cat(items) for items in zip(*pieces, strict=True)])
        codes, ids = (pad_sequence(list(items), batch_first=True) for items in zip(*rows, strict=True))
        return codes, ids, torch.tensor([len(ids) for _, ids in rows], device=audio.wave.device)

    def _quantized(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [..., d] and ids [...] of encoder steps [..., D]; in float32, as rounding is what decides here."""
        with torch.autocast(self.device.type, enabled=False):
            return self.quantizer(self.pre_quant(steps.float()))

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode, `precision`, no gradients; every module's own mode comes back afterwards."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        reduced = self.precision != torch.float32
        try:
            with torch.no_grad(), torch.autocast(self.device.type, self.precision if reduced else None, reduced):
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


def _labels_of(supervision: Sequence[str]) -> LabelKind:
    """What a supervision's CTC head reads. Raises `OmnikitError` for none, two, or unknown kinds of supervision."""
    if isinstance(supervision, str) or not supervision or len(set(supervision)) < len(supervision):
        raise OmnikitError(f"supervision is {supervision!r}; give a list of different ones of: {', '.join(LABELS_OF)}.")
    for name in supervision:
        if name not in LABELS_OF:
            raise unknown_name("supervision", name, LABELS_OF)
    kinds = [LABELS_OF[name] for name in supervision if LABELS_OF[name] != "nothing"]
    if len(kinds) > 1:
        raise OmnikitError(
            "ctc_phone and ctc_char cannot both supervise: a tokenizer has one head that reads, of one alphabet.\n"
            "Choose one of them; mel_reconstruction goes with either."
        )
    return kinds[0] if kinds else "nothing"


def _rate(encoder: str, hf: Mapping[str, Any]) -> Fraction:
    """Units a second."""
    if encoder not in ENCODERS:
        raise unknown_name("encoder", encoder, ENCODERS)
    return RATE if encoder == "spiral" else facts_of(read_group(HFSpeechSizes, "hf", {**HF, **hf})).rate


def _make_encoder(encoder: str, spiral: Mapping[str, Any], hf: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """The encoder and its width."""
    if encoder == "hf":
        speech = HFSpeech(read_group(HFSpeechSizes, "hf", {**HF, **hf}))
        return speech, speech.dim
    sizes = read_group(SpiralSizes, "spiral", spiral)
    check_spiral(sizes)
    taps, groups = sizes.position
    blocks = spiral_blocks(
        sizes.num_mels,
        sizes.widths,
        sizes.layers,
        sizes.heads,
        sizes.ffn_ratio,
        taps,
        groups,
        sizes.dropout,
        sizes.layer_drop,
    )
    return SpiralEncoder(LogMel(sizes.num_mels, SAMPLE_RATE, HOP_SIZE), blocks), sizes.widths[-1]


def _num_units(quantizer: str, fsq: Mapping[str, Any], vq: Mapping[str, Any], continuous: Mapping[str, Any]) -> int:
    """Units of the chosen quantiser, by arithmetic."""
    if quantizer not in QUANTIZERS:
        raise unknown_name("quantizer", quantizer, QUANTIZERS)
    if quantizer == "fsq":
        return math.prod(read_group(FSQSizes, "fsq", fsq).levels)
    if quantizer == "vq":
        return read_group(VQSizes, "vq", vq).num_units
    return read_group(ContinuousSizes, "continuous", continuous).num_units


def _make_quantizer(
    quantizer: str, fsq: Mapping[str, Any], vq: Mapping[str, Any], continuous: Mapping[str, Any]
) -> Quantizer:
    if quantizer == "fsq":
        return FSQ(read_group(FSQSizes, "fsq", fsq).levels)
    if quantizer == "vq":
        learned = read_group(VQSizes, "vq", vq)
        return VectorQuantizer(learned.num_units, learned.dim, learned.decay, learned.commitment)
    if quantizer != "none":
        raise unknown_name("quantizer", quantizer, QUANTIZERS)
    free = read_group(ContinuousSizes, "continuous", continuous)
    return ContinuousBottleneck(free.num_units, free.dim)
