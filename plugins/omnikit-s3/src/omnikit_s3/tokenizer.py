"""`tokenizer/s3`: speech → the units inside a speech recogniser.

Letters: B batch, S samples, T steps, D encoder width, d quantised dimensions, N labels, V classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from omnikit import AudioPort, Contract, UnitsPort
from omnikit.errors import MediaError, OmnikitError, unknown_name
from omnikit.nn.fsq import FSQ
from omnikit.nn.hf_speech import SAMPLE_RATE
from omnikit.nn.quantizer import Quantizer
from omnikit.nn.spiral import valid_steps
from omnikit.nn.vq import VectorQuantizer
from omnikit.slots.groups import plain, read_group
from omnikit.slots.published import AroundPublished
from omnikit.slots.sound import check_audio
from omnikit.slots.tokenizer import LabelKind, SpeechTokenizer
from omnikit.slots.unit_stream import Live, units_of
from omnikit.slots.units import own_codes
from omnikit.types import Audio, Frames, Layout, Losses, Units
from omnikit_s3.networks import WINDOW_S, LowerHalf, make_encoder, make_recogniser
from omnikit_s3.sizes import NONE, CodebookSizes, DecoderSizes, LevelSizes, ModelSizes, check_sizes

MODEL, VQ, FSQ_GROUP, DECODER = (
    plain(ModelSizes()),
    plain(CodebookSizes()),
    plain(LevelSizes()),
    plain(DecoderSizes()),
)
QUANTIZERS = ("fsq", "vq")
UNTRAINED = "untrained-s3"
WINDOW = WINDOW_S * SAMPLE_RATE


class S3Tokenizer(AroundPublished, SpeechTokenizer):
    """Supervised semantic tokens: a bottleneck in the middle of a speech recogniser, which keeps what is said.

    Args:
        model: sizes of the speech encoder and where it is cut, or a published Whisper to start from
            (`omnikit_s3.sizes.ModelSizes`).
        quantizer: `fsq`, rounding in a few dimensions (CosyVoice 2), or `vq`, a learned codebook (CosyVoice).
        fsq, vq: their sizes (`LevelSizes`, `CodebookSizes`); the one that is not chosen is ignored.
        decoder: sizes of the text decoder (`DecoderSizes`). It teaches, and reads back; without blocks there is none,
            and the other half of the encoder is left out too.
        num_classes: characters that the decoder writes.
        reduced: merge runs of equal units and keep their durations beside them.
        vocab_id: name of the ids' meaning, set from the weights.

    `stage=tokenizer` trains all of it by cross-entropy on the characters of each text; the command `omnikit-s3` leaves
    behind what only training needs. Recordings beyond 30 s are read window after window.

    Contract: 16 kHz mono → one unit of the quantiser, 25 or 50 times a second. Offline: attention sees the window.
    Raises: `OmnikitError` for sizes that do not fit each other and models that cannot be had, `MediaError` for audio it
        cannot read, `WeightsError` for units of another vocabulary.
    Ref: Du et al., "CosyVoice", 2024 (arXiv 2407.05407), section 2.1; Du et al., "CosyVoice 2", 2024 (arXiv
        2412.10117). The blocks are Whisper's.
    """

    def __init__(
        self,
        model: Mapping[str, Any] = MODEL,
        quantizer: Literal["fsq", "vq"] = "fsq",
        fsq: Mapping[str, Any] = FSQ_GROUP,
        vq: Mapping[str, Any] = VQ,
        decoder: Mapping[str, Any] = DECODER,
        num_classes: int = 28,
        reduced: bool = False,
        vocab_id: str = UNTRAINED,
    ) -> None:
        super().__init__()
        sizes, writing = read_group(ModelSizes, "model", model), read_group(DecoderSizes, "decoder", decoder)
        check_sizes(sizes, writing)
        whole = make_encoder(sizes)
        width = whole.config.d_model
        self.encoder = LowerHalf(whole, sizes.rate, sizes.cut, is_published=sizes.pretrained != NONE)
        self.quantizer = _make_quantizer(quantizer, fsq, vq, width)
        is_narrow = quantizer == "fsq"  # a codebook is as wide as the encoder
        self.down = nn.Linear(width, self.quantizer.dim) if is_narrow else nn.Identity()
        self.up = nn.Linear(self.quantizer.dim, width) if is_narrow and writing.layers else nn.Identity()
        self.recogniser = make_recogniser(whole, sizes.cut, writing, num_classes) if writing.layers else None
        self.labels: LabelKind = "characters" if writing.layers else "nothing"
        self.sizes, self.rate = (self.quantizer.num_codes,), Fraction(sizes.rate)
        self.layout: Layout = "reduced" if reduced else "frame"
        self.vocab_id = vocab_id

    @classmethod
    def contract(
        cls,
        model: Mapping[str, Any],
        quantizer: str,
        fsq: Mapping[str, Any],
        vq: Mapping[str, Any],
        reduced: bool,
        vocab_id: str,
        **_: Any,
    ) -> Contract:
        """16 kHz mono → units of the quantiser."""
        units = UnitsPort(
            codebooks=(_num_units(quantizer, fsq, vq),),
            rate=Fraction(read_group(ModelSizes, "model", model).rate),
            layout="reduced" if reduced else "frame",
            vocab_id=vocab_id,
        )
        return Contract(
            needs={"audio": AudioPort(sample_rate=SAMPLE_RATE)},
            gives={"units": units},
            lookahead_ms=Live().lookahead_ms,
        )

    def encode(self, audio: Audio) -> Units:
        """Units [B, 1, T] of 16 kHz waveforms, `ceil(seconds · rate)` a row before runs merge; padding is 0.

        Runs in float32, as in evaluation and without gradients, whatever mode the module is in.
        """
        with self._evaluating():
            _, ids, valid, owners = self._read(audio)
        rows = [torch.cat(pieces) for pieces in _by_row(ids, valid, owners, len(audio.lengths))]  # [T] each
        lengths = torch.tensor([len(row) for row in rows], device=ids.device)
        codes = pad_sequence(rows, batch_first=True)[:, None]  # [B, 1, T]
        units = Units(codes, lengths, self.sizes, self.rate, self.vocab_id, self.layout)
        return units_of([row[None] for row in rows], units) if self.layout == "reduced" else units

    def embed(self, units: Units) -> Frames:
        """What units stand for in the bottleneck, digits or codes: [B, T, d]; without a rate where runs are merged."""
        codes = own_codes(units, self.sizes, self.vocab_id, "tokenizer/s3", self.layout)
        vectors = self.quantizer.codes_from_ids(codes[:, 0])
        return Frames(vectors, units.lengths, self.rate if self.layout == "frame" else None)

    def features(self, audio: Audio) -> Frames:
        """The encoder's steps [B, T, D] before the bottleneck."""
        with self._evaluating():
            steps, valid, owners = self._steps(audio)
        rows = [torch.cat(pieces) for pieces in _by_row(steps, valid, owners, len(audio.lengths))]  # [T, D] each
        lengths = torch.tensor([len(row) for row in rows], device=steps.device)
        return Frames(pad_sequence(rows, batch_first=True), lengths, self.rate)

    def loss(self, audio: Audio, phones: Tensor, phone_lengths: Tensor) -> Losses:
        """Cross-entropy of every next label through the units, and what the quantiser asks for.

        `phones` [B, N] are classes of characters; the mean over rows of each row's mean over its labels and its end.
        Raises `OmnikitError` without a decoder, for a text that it has no room for, and for a class that it lacks;
        `MediaError` for recordings beyond 30 s.
        """
        recogniser = self._teacher()
        self._check_labels(phones, phone_lengths)
        if int(audio.lengths.max()) > WINDOW:
            raise MediaError(
                f"Training reads recordings of up to {WINDOW_S} s whole; one of {max(audio.seconds):.1f} s came.\n"
                f"Leave longer ones out: recipe.tokenizer.max_s={WINDOW_S}."
            )
        steps, valid, _ = self._steps(audio)
        codes, terms = self.quantizer.learn(self.down(steps), valid)
        labels = phones[:, : max(1, int(phone_lengths.max()))]
        scores = recogniser(self.up(codes), valid, labels)  # [B, N + 1, V + 1]
        wanted = functional.pad(labels, (0, 1)).scatter(1, phone_lengths[:, None], recogniser.num_classes)  # [B, N + 1]
        counts = valid_steps(phone_lengths + 1, wanted.shape[1])
        errors = functional.cross_entropy(scores.float().transpose(1, 2), wanted, reduction="none") * counts
        parts = {**terms, "cross_entropy": (errors.sum(1) / counts.sum(1)).mean()}
        total = torch.stack(list(parts.values())).sum()
        return Losses(total, {name: value.detach() for name, value in parts.items()})

    def read_labels(self, audio: Audio) -> list[list[int]]:
        """Classes of characters that the decoder writes from the units of each row. Raises `OmnikitError` without."""
        recogniser = self._teacher()
        with self._evaluating():
            codes, _, valid, owners = self._read(audio)
            written = recogniser.read(self.up(codes), valid)
        rows: list[list[int]] = [[] for _ in audio.lengths]
        for owner, labels in zip(owners, written, strict=True):
            rows[owner] += labels
        return rows

    def read_phones(self, audio: Audio) -> list[list[int]]:
        """Nothing: raises `OmnikitError`."""
        raise OmnikitError(
            "tokenizer/s3 was trained to write texts: it reads no phones. Characters are what read_labels gives."
        )

    def _read(self, audio: Audio) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """Codes [W, T, d], ids [W, T], valid steps [W, T] of every window, and the row that each belongs to."""
        steps, valid, owners = self._steps(audio)
        codes, ids = self.quantizer(self.down(steps))
        return codes, ids * valid, valid, owners

    def _steps(self, audio: Audio) -> tuple[Tensor, Tensor, list[int]]:
        """The encoder's steps [W, T, D] of every window, valid steps [W, T], and the row that each belongs to."""
        check_audio(audio, SAMPLE_RATE, "tokenizer/s3")
        longest = int(audio.lengths.max())
        owners = list(range(len(audio.lengths)))
        wave, lengths = audio.wave[:, :longest].float(), audio.lengths.long()
        if longest > WINDOW:
            places = [(row, at) for row, own in enumerate(lengths.tolist()) for at in range(0, own, WINDOW)]
            owners = [row for row, _ in places]
            pieces = [wave[row, at : min(at + WINDOW, int(lengths[row]))] for row, at in places]
            wave = pad_sequence(pieces, batch_first=True)  # [W, S]
            lengths = torch.tensor([len(piece) for piece in pieces], device=wave.device)
        steps, lengths = self.encoder(wave, lengths)
        return steps, valid_steps(lengths, steps.shape[1]), owners

    def _teacher(self) -> Any:
        """The recogniser. Raises `OmnikitError` where it was left behind."""
        if self.recogniser is None:
            raise OmnikitError(
                "This tokenizer/s3 has no text decoder any more: it makes units, and neither learns nor reads back.\n"
                "Take the part that stage=tokenizer wrote, or make one with decoder.layers of 1 or more."
            )
        return self.recogniser

    def _check_labels(self, labels: Tensor, lengths: Tensor) -> None:
        recogniser = self._teacher()
        if int(lengths.max()) > recogniser.max_labels:
            raise OmnikitError(
                f"A text has {int(lengths.max())} characters, the decoder has room for {recogniser.max_labels}.\n"
                "Set decoder.max_labels higher, or leave long recordings out (recipe.tokenizer.max_s)."
            )
        if labels.numel() and int(labels.max()) >= recogniser.num_classes:
            raise OmnikitError(
                f"A label is class {int(labels.max())}, the decoder writes {recogniser.num_classes} classes.\n"
                "Set num_classes to the size of the character set (28 characters of the corpus)."
            )

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


def without_decoder(tokenizer: S3Tokenizer) -> S3Tokenizer:
    """A tokenizer of the same units that has left behind what only training needs."""
    given = dict(tokenizer.parameters_given)
    given["model"] = _as_it_is(tokenizer, given["model"])
    given["decoder"] = {**given["decoder"], "layers": 0}
    light = S3Tokenizer(**given)
    own = light.state_dict()
    light.load_state_dict({name: value for name, value in tokenizer.state_dict().items() if name in own})
    return light.train(tokenizer.training)


def _as_it_is(tokenizer: S3Tokenizer, model: Mapping[str, Any]) -> dict[str, Any]:
    """The model's sizes, those of a published one spelled out, so that nothing has to be fetched for them."""
    if not tokenizer.encoder.is_published:
        return dict(model)
    config = tokenizer.encoder.config
    sizes = replace(
        read_group(ModelSizes, "model", model),
        pretrained=NONE,
        num_mels=config.num_mel_bins,
        dim=config.d_model,
        layers=config.encoder_layers,
        heads=config.encoder_attention_heads,
        ffn_dim=config.encoder_ffn_dim,
    )
    return plain(sizes)


def _by_row(values: Tensor, valid: Tensor, owners: list[int], num_rows: int) -> list[list[Tensor]]:
    """The valid steps of every window of [W, T, ...], gathered by the row that they belong to."""
    rows: list[list[Tensor]] = [[] for _ in range(num_rows)]
    for owner, value, length in zip(owners, values, valid.sum(1).tolist(), strict=True):
        rows[owner].append(value[:length])
    return rows


def _num_units(quantizer: str, fsq: Mapping[str, Any], vq: Mapping[str, Any]) -> int:
    if quantizer not in QUANTIZERS:
        raise unknown_name("quantizer", quantizer, QUANTIZERS)
    if quantizer == "fsq":
        return math.prod(read_group(LevelSizes, "fsq", fsq).levels)
    return read_group(CodebookSizes, "vq", vq).num_units


def _make_quantizer(quantizer: str, fsq: Mapping[str, Any], vq: Mapping[str, Any], width: int) -> Quantizer:
    if quantizer == "fsq":
        return FSQ(read_group(LevelSizes, "fsq", fsq).levels)
    if quantizer != "vq":
        raise unknown_name("quantizer", quantizer, QUANTIZERS)
    sizes = read_group(CodebookSizes, "vq", vq)
    return VectorQuantizer(sizes.num_units, width, sizes.decay, sizes.commitment)
