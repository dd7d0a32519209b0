"""Stages `prealign`, `align` and `sft`: the language model learns captions, transcripts, texts to speak, and dialogues.

They differ in their mixture of tasks and in which parts learn, at which rate (EMOVA, arXiv 2409.18042, section 3.4):
captions for the projector; then image-text and speech-text pairs with text in the middle; then spoken dialogues.
Letters: I images, N positions of an image, W backbone width, K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from omnikit.data.language_batches import Ids, LanguageBatch, LanguageSample, UserInput
from omnikit.data.media import located, read_image_size, resample
from omnikit.errors import OmnikitError, unknown_name
from omnikit.nn.picture_sizes import PictureSize, fixed_side
from omnikit.nn.processes import num_processes
from omnikit.slots.backbone import Backbone, Segment
from omnikit.slots.emitter import Emitter
from omnikit.slots.format import Format
from omnikit.slots.hearing import Hearing
from omnikit.slots.input_style import LearnedInputStyle
from omnikit.slots.projector import Projector
from omnikit.slots.seeing import num_positions, picture_size, projected
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.stages.draws import generator
from omnikit.stages.optim import Optim
from omnikit.stages.pieces import LearntInPieces, num_samples
from omnikit.types import SpokenTurn, Style, Units

Read = Mapping[str, Tensor | tuple[Segment, ...]]
"""What is read of pictures (features [N, W]) and of recordings (segments beside or instead of units), by path."""


class LanguageStage(LearntInPieces):
    """Next-token cross-entropy of what the format makes of each sample, all samples of a step in one packed row.

    Args:
        rates: learning rate of the parts that learn (`vision_encoder`, `projector`, `backbone`, and those of `hearing`
            that have anything to learn); others are frozen.
        misread: share of the units and of the trained text that is read as another token while it trains, so that a
            reply leans on what was heard rather than on its own beginning.
        seed: what is misread is a function of it, of the step and of the process.
        vision_from: the first block of the vision encoder that learns, where it does; those before it are frozen.
        image_root: folder of the pictures, whose sizes are read where the vision encoder keeps them.
        hearing: the parts that hear beside the tokenizer; none where units say everything.
        emitter: how units are written; as tokens of the backbone's vocabulary where none is given.

    Raises `UnknownName` for a part that does not exist, `OmnikitError` when none learns.
    """

    def __init__(
        self,
        vision_encoder: VisionEncoder,
        projector: Projector,
        backbone: Backbone,
        format: Format,
        optim: Optim,
        rates: Mapping[str, float],
        image_root: Path = Path(),
        misread: float = 0.0,
        seed: int = 0,
        hearing: Hearing | None = None,
        emitter: Emitter | None = None,
        vision_from: int = 0,
    ) -> None:
        super().__init__()
        self.hearing = hearing or Hearing()
        self.vision_encoder, self.projector, self.backbone, self.format = vision_encoder, projector, backbone, format
        self.emitter = Emitter() if emitter is None else emitter
        if not 0 <= misread < 1:
            raise OmnikitError(f"misread is {misread}: a share of tokens, from 0 up to 1 (0.1 is usual; 0 is off).")
        self.optim, self.misread, self.seed = optim, misread, seed
        parts: dict[str, nn.Module] = {"vision_encoder": vision_encoder, "projector": projector, "backbone": backbone}
        if emitter is not None:
            parts["emitter"] = emitter
        for name in ("speech_encoder", "speech_projector", "input_style"):
            part = getattr(self.hearing, name)
            if part is not None and any(True for _ in part.parameters()):
                parts[name] = part
                self.add_module(name, part)
        for name in rates:
            if name not in parts:
                raise unknown_name("part with a learning rate", name, parts)
        apart = {name for name, part in parts.items() if isinstance(part, LearnedInputStyle)}  # has its own stage
        self.rates = {name: float(rate) for name, rate in rates.items() if rate > 0 and name not in apart}
        if not self.rates:
            raise OmnikitError(f"Nothing would learn: give a rate above 0 to any of {', '.join(parts)}.")
        self.frozen = [part for name, part in parts.items() if name not in self.rates]
        for part in self.frozen:
            part.requires_grad_(False)
        if vision_from and "vision_encoder" in self.rates:
            vision_encoder.learn_from(vision_from)
        self.image_root = image_root

    def train(self, mode: bool = True) -> LanguageStage:
        """Training mode for the parts that learn; frozen ones stay as they are used."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def training_step(self, batch: LanguageBatch, index: int) -> Tensor:
        """One step on a mixture of tasks."""
        draws = generator(self.seed, self.global_step, self.global_rank) if self.misread else None
        return self.checked(self.losses(batch, draws, learn=True))

    def validation_step(self, batch: LanguageBatch, index: int) -> None:
        """Logs the loss of every task."""
        losses = self.losses(batch)
        parts = {f"valid_{name}": value for name, value in losses.parts.items()}
        self.log_dict({"valid_loss": losses.total, **parts}, batch_size=num_samples(batch))

    def of_piece(
        self, piece: LanguageBatch, draws: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
        """Mean loss of all trained tokens, and of each task; how many those are. With `draws`, some is misread."""
        misread = 0.0 if draws is None else self.misread
        features = self.see(piece)
        tasks = list(dict.fromkeys(sample.task for sample in piece.samples))
        samples = sorted(piece.samples, key=lambda sample: tasks.index(sample.task))
        sequences = [sequence_of(sample, features, self.format, self.backbone) for sample in samples]
        losses = self.emitter.loss(self.backbone, sequences, misread=misread, generator=draws)
        means, tokens = losses.parts["sequences"], losses.parts["tokens"]  # [B]
        kind = torch.tensor([tasks.index(sample.task) for sample in samples], device=means.device)  # [B]
        counts = means.new_zeros(len(tasks)).index_add_(0, kind, tokens.to(means))
        sums = means.new_zeros(len(tasks)).index_add_(0, kind, means * tokens)
        parts = dict(zip(tasks, sums / counts, strict=True))
        counted = dict(zip(tasks, (counts * piece.counts).tolist(), strict=True))
        return losses.total + self._untouched(), parts, counted

    def count_trained(self, piece: LanguageBatch) -> int:
        """The trained tokens of a piece; none where it only stands in."""
        if not piece.counts:
            return 0
        written = (target_of(sample, self.format, self.backbone) for sample in piece.samples)
        return sum(self.emitter.count_trained(self.backbone, target) for target in written)

    def _untouched(self) -> Tensor | float:
        """Nothing, to which every part that learns is tied: of several processes, none may lack a part's gradients.

        Each process sees its own rows, so only some may see a picture.
        """
        if num_processes() == 1:
            return 0.0
        beside = [getattr(self, name) for name in self.rates if name != "backbone"]
        weights = [weight for part in beside for weight in part.parameters() if weight.requires_grad]
        return sum((weight.sum() for weight in weights), torch.zeros((), device=self.device)) * 0.0

    def see(self, batch: LanguageBatch) -> dict[str, Tensor | tuple[Segment, ...]]:
        """Projected features [N, W] of every picture of the batch by its path; what is heard of its recordings, too."""
        heard: dict[str, Tensor | tuple[Segment, ...]] = {}
        if batch.audio is not None:
            audio = batch.audio
            rows = self.hearing.read(lambda rate: resample(audio, rate))
            heard = dict(zip(batch.sound_paths, rows, strict=True))
        if not batch.paths:
            return heard
        with nullcontext() if "vision_encoder" in self.rates else torch.no_grad():
            frames = self.vision_encoder.encode(batch.images)
        return heard | dict(zip(batch.paths, projected(self.projector, frames, batch.images), strict=True))

    def count(self, sample: LanguageSample) -> int:
        """Positions that a sample takes; of pictures that keep their sizes, the header is read."""
        empty = torch.zeros(1, self.backbone.width)
        features: dict[str, Tensor | tuple[Segment, ...]] = {
            path: empty.expand(self.image_positions(path), -1) for path in sample.images
        }
        features |= {sound.path: self.hearing.blank(sound.seconds, self.backbone.width) for sound in sample.sounds}
        return self.emitter.count_tokens(self.backbone, sequence_of(sample, features, self.format, self.backbone))

    @property
    def image_size(self) -> PictureSize:
        """What pictures the encoder takes: squashed or padded to a side in pixels, in slices, or at their own sizes."""
        return picture_size(self.vision_encoder)

    def image_positions(self, path: str) -> int:
        """Positions that a picture takes in a sequence."""
        side = fixed_side(self.image_size)
        seen = (side, side) if side is not None else read_image_size(located(self.image_root, path))
        return num_positions(self.vision_encoder, self.projector, seen)

    def configure_optimizers(self) -> Any:
        """AdamW with one group for each part that learns (tensors of which some rows learn apart), on one schedule."""
        groups: list[dict[str, Any]] = []
        partly = {id(weight) for weight in self.backbone.undecayed()}
        for name, rate in self.rates.items():
            weights = [item for item in getattr(self, name).parameters() if item.requires_grad]
            whole = [item for item in weights if id(item) not in partly]
            if whole:
                groups.append({"params": whole, "lr": rate, "name": name})
            if len(whole) < len(weights):
                rest = [item for item in weights if id(item) in partly]
                groups.append({"params": rest, "lr": rate, "name": f"{name} rows", "weight_decay": 0.0})
        optimizer, schedule = self.optim.build(groups)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _segments(user: UserInput, read: Read) -> Iterator[Segment]:
    """Pictures, speech and typed text of a user's input, in this order."""
    for image in user.images:
        yield Segment(frames=cast(Tensor, read[image]))
    if user.sound is not None:
        yield from cast(tuple[Segment, ...], read[user.sound.path])
    if user.units is not None:
        yield Segment(units=user.units)
    if user.text is not None:
        yield Segment(text=user.text)


def prompt_of(sample: LanguageSample, features: Read, format: Format) -> list[Segment]:
    """What the backbone reads of a sample; `features` of its pictures and recordings by path."""
    past = [(list(_segments(user, features)), SpokenTurn(text=reply)) for user, reply in sample.history]
    return format.prompt(sample.task, list(_segments(sample.user, features)), past)


def sequence_of(sample: LanguageSample, features: Read, format: Format, backbone: Backbone) -> list[Segment]:
    """What the backbone reads and, as trained segments, learns to write of a sample."""
    return [*prompt_of(sample, features, format), *target_of(sample, format, backbone)]


def target_of(sample: LanguageSample, format: Format, backbone: Backbone) -> list[Segment]:
    """What the backbone writes of a sample."""
    tells_tone = set(format.factors) <= set(sample.heard_style)
    turn = SpokenTurn(
        text=sample.text,
        user_text=sample.heard,
        style=Style(labels=(sample.style,), source="model") if sample.style else Style(),
        units=None if sample.units is None else _units(sample.units, backbone),
        user_style=Style(labels=(sample.heard_style,)) if tells_tone and sample.heard_style else Style(),
    )
    return format.target(sample.task, turn, backbone)


def texts_of(samples: Iterable[LanguageSample], format: Format, backbone: Backbone) -> Iterator[str]:
    """Every stretch of text that samples make the backbone read or write; what its text vocabulary should fit."""
    blank = torch.zeros(0, backbone.width)
    for sample in samples:
        silent: Read = {**dict.fromkeys(sample.images, blank), **{sound.path: () for sound in sample.sounds}}
        for segment in sequence_of(sample, silent, format, backbone):
            if segment.text:
                yield segment.text


def _units(ids: Ids, backbone: Backbone) -> Units:
    codes = torch.tensor(ids).unsqueeze(0)  # [K][T] → [1, K, T]
    lengths = torch.tensor([codes.shape[-1]])
    return Units(codes, lengths, backbone.codebooks, backbone.unit_rate, backbone.vocab_id, backbone.layout)
