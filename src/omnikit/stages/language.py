"""Stages `prealign`, `align` and `sft`: the language model learns captions, transcripts, texts to speak, and dialogues.

They differ in their mixture of tasks and in which parts learn, at which rate (EMOVA, arXiv 2409.18042, section 3.4):
captions for the projector; then image-text and speech-text pairs with text in the middle; then spoken dialogues.
Letters: I images, N positions of an image, W backbone width, K codebooks, T units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omnikit.data.language_batches import Ids, LanguageBatch, LanguageSample, UserInput
from omnikit.data.media import read_image_size
from omnikit.errors import OmnikitError, unknown_name
from omnikit.nn.picture_sizes import NativeSize
from omnikit.slots.backbone import Backbone, Segment
from omnikit.slots.format import Format
from omnikit.slots.projector import Projector
from omnikit.slots.vision_encoder import VisionEncoder
from omnikit.stages.base import Stage
from omnikit.stages.draws import generator
from omnikit.stages.optim import Optim
from omnikit.types import Images, Losses, SpokenTurn, Style, Units


class LanguageStage(Stage):
    """Next-token cross-entropy of what the format makes of each sample, one padded batch for every task of a step.

    Args:
        rates: learning rate of the parts that learn (`vision_encoder`, `projector`, `backbone`); others are frozen.
        misread: share of the units and of the trained text that is read as another token while it trains, so that a
            reply leans on what was heard rather than on its own beginning.
        seed: what is misread is a function of it, of the step and of the process.
        image_root: folder of the pictures, whose sizes are read where the vision encoder keeps them.

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
    ) -> None:
        super().__init__()
        self.vision_encoder, self.projector, self.backbone, self.format = vision_encoder, projector, backbone, format
        if not 0 <= misread < 1:
            raise OmnikitError(f"misread is {misread}: a share of tokens, from 0 up to 1 (0.1 is usual; 0 is off).")
        self.optim, self.misread, self.seed = optim, misread, seed
        parts: dict[str, nn.Module] = {"vision_encoder": vision_encoder, "projector": projector, "backbone": backbone}
        for name in rates:
            if name not in parts:
                raise unknown_name("part with a learning rate", name, parts)
        self.rates = {name: float(rate) for name, rate in rates.items() if rate > 0}
        if not self.rates:
            raise OmnikitError(f"Nothing would learn: give a rate above 0 to any of {', '.join(parts)}.")
        self.frozen = [part for name, part in parts.items() if name not in self.rates]
        for part in self.frozen:
            part.requires_grad_(False)
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
        return self.checked(self.losses(batch, draws))

    def validation_step(self, batch: LanguageBatch, index: int) -> None:
        """Logs the loss of every task."""
        losses = self.losses(batch)
        parts = {f"valid_{name}": value for name, value in losses.parts.items()}
        self.log_dict({"valid_loss": losses.total, **parts}, batch_size=len(batch.samples))

    def losses(self, batch: LanguageBatch, draws: torch.Generator | None = None) -> Losses:
        """Mean loss of all trained tokens of the batch; parts: the mean of each task. With `draws`, some is misread."""
        misread = 0.0 if draws is None else self.misread
        features = self.see(batch)
        totals, counts, parts = [], [], {}
        for task in dict.fromkeys(sample.task for sample in batch.samples):
            samples = [sample for sample in batch.samples if sample.task == task]
            sequences = [sequence_of(sample, features, self.format, self.backbone) for sample in samples]
            losses = self.backbone.loss(sequences, misread=misread, generator=draws)
            parts[task] = losses.total.detach()
            totals.append(losses.total)
            counts.append(losses.parts["tokens"].sum())
        shares = torch.stack(counts) / torch.stack(counts).sum()
        return Losses((torch.stack(totals) * shares).sum(), parts)

    def see(self, batch: LanguageBatch) -> dict[str, Tensor]:
        """Projected features [N, W] of every picture of the batch by its path."""
        if not batch.paths:
            return {}
        with nullcontext() if "vision_encoder" in self.rates else torch.no_grad():
            frames = self.vision_encoder.encode(Images(batch.pixels, batch.sizes))
        embeds = self.projector.project(frames)  # [I, N, W]
        rows = zip(embeds.features, embeds.lengths.tolist(), strict=True)
        return {path: row[:length] for path, (row, length) in zip(batch.paths, rows, strict=True)}

    def count(self, sample: LanguageSample) -> int:
        """Positions that a sample takes; of pictures that keep their sizes, the header is read."""
        empty = torch.zeros(1, self.backbone.width)
        features = {path: empty.expand(self.image_positions(path), -1) for path in sample.images}
        return self.backbone.count_tokens(sequence_of(sample, features, self.format, self.backbone))

    @property
    def image_size(self) -> int | NativeSize:
        """Side in pixels of the pictures that the encoder takes, or the bounds of those that keep their shape."""
        return self.vision_encoder.contract(**self.vision_encoder.parameters_given).needs["image"].size

    def image_positions(self, path: str) -> int:
        """Positions that a picture takes in a sequence."""
        size = self.image_size
        seen = (size, size) if isinstance(size, int) else read_image_size(self.image_root / path)
        return self.projector.num_positions(self.vision_encoder.num_positions(*seen))

    def configure_optimizers(self) -> Any:
        """AdamW with one group for each part that learns, all on the stage's schedule."""
        groups = []
        for name, rate in self.rates.items():
            weights = [item for item in getattr(self, name).parameters() if item.requires_grad]
            if weights:
                groups.append({"params": weights, "lr": rate, "name": name})
        optimizer, schedule = self.optim.build(groups)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _segments(user: UserInput, features: Mapping[str, Tensor]) -> Iterator[Segment]:
    """Picture, speech and typed text of a user's input, in this order."""
    if user.image is not None:
        yield Segment(frames=features[user.image])
    if user.units is not None:
        yield Segment(units=user.units)
    if user.text is not None:
        yield Segment(text=user.text)


def prompt_of(sample: LanguageSample, features: Mapping[str, Tensor], format: Format) -> list[Segment]:
    """What the backbone reads of a sample; `features` [N, W] of its pictures by path."""
    past = [(list(_segments(user, features)), SpokenTurn(text=reply)) for user, reply in sample.history]
    return format.prompt(sample.task, list(_segments(sample.user, features)), past)


def sequence_of(
    sample: LanguageSample, features: Mapping[str, Tensor], format: Format, backbone: Backbone
) -> list[Segment]:
    """What the backbone reads and, as trained segments, learns to write of a sample."""
    turn = SpokenTurn(
        text=sample.text,
        user_text=sample.heard,
        style=Style(labels=(sample.style,), source="model") if sample.style else Style(),
        units=None if sample.units is None else _units(sample.units, backbone),
    )
    return [*prompt_of(sample, features, format), *format.target(sample.task, turn, backbone)]


def texts_of(samples: Iterable[LanguageSample], format: Format, backbone: Backbone) -> Iterator[str]:
    """Every stretch of text that samples make the backbone read or write; what its text vocabulary should fit."""
    blank = torch.zeros(0, backbone.width)
    for sample in samples:
        for segment in sequence_of(sample, dict.fromkeys(sample.images, blank), format, backbone):
            if segment.text:
                yield segment.text


def _units(ids: Ids, backbone: Backbone) -> Units:
    codes = torch.tensor(ids).unsqueeze(0)  # [K][T] → [1, K, T]
    lengths = torch.tensor([codes.shape[-1]])
    return Units(codes, lengths, backbone.codebooks, backbone.unit_rate, backbone.vocab_id, backbone.layout)
