"""Stage `tokenizer_pretrain`: a tokenizer's encoder learns from speech without labels, before it learns phones.

SPIRAL: the encoder is the student of a running average of itself. What it has learnt stays in the tokenizer; projector,
predictor and teacher belong to the stage.
Letters: B batch, F frames, M mel bands.

Ref: Huang et al., "SPIRAL: Self-supervised Perturbation-Invariant Representation Learning for Speech Pre-Training",
ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from omnikit.data.speech_batches import SpeechBatch
from omnikit.nn.spiral_masking import Draws, Masking, draw
from omnikit.nn.spiral_pretraining import Contrast, SpiralPretraining, momentum
from omnikit.slots.tokenizer import SpeechTokenizer
from omnikit.stages.base import Stage
from omnikit.stages.draws import dropout_of, generator
from omnikit.stages.optim import Optim
from omnikit.stages.shares import counts_of_all, of_whole_batch
from omnikit.types import Losses

MASK_DEVIATION = 0.0086
"""Standard deviation of the fixed numbers that stand for a hidden frame (measured on the published ones)."""
_TRAINING, _VALIDATION, _FILLER = 0, 1, 2


@dataclass(frozen=True)
class Teaching:
    """The contrast and the teacher's pace; the defaults are the published numbers.

    A prediction is held against `num_negatives` other steps, cosines over `temperature`, in `projection_dim` numbers.
    At every step the teacher keeps a share of itself, from `keep_start` to `keep_end` over `keep_steps` steps.
    """

    num_negatives: int = 100
    temperature: float = 0.3
    projection_dim: int = 256
    predictor_dim: int = 256
    keep_start: float = 0.99
    keep_end: float = 0.999
    keep_steps: int = 2_000_000


class TokenizerPretrainStage(Stage):
    """Teaches `tokenizer.frame_encoder()` by contrast with a running average of itself.

    What is masked, shifted and held against what is a function of `seed`, step and row alone.
    Raises `OmnikitError` for a tokenizer that has no such encoder.
    """

    def __init__(
        self, tokenizer: SpeechTokenizer, optim: Optim, masking: Masking, teaching: Teaching, seed: int = 0
    ) -> None:
        super().__init__()
        parts = tokenizer.frame_encoder()
        self.tokenizer, self.optim, self.masking, self.teaching, self.seed = tokenizer, optim, masking, teaching, seed
        tokenizer.requires_grad_(False)
        parts.encoder.requires_grad_(True)
        if not parts.mask_frame.any():
            drawn = torch.randn(parts.mask_frame.shape, generator=generator(seed, _FILLER))
            parts.mask_frame.copy_(MASK_DEVIATION * drawn)
        self.objective = SpiralPretraining(
            parts.encoder,
            parts.dim,
            parts.stride,
            teaching.projection_dim,
            teaching.predictor_dim,
            teaching.temperature,
        )
        self._counted = {"loss": 0.0, "accuracy": 0.0, "steps": 0.0}

    def training_step(self, batch: SpeechBatch, index: int) -> Tensor:
        """One step on a batch of utterances; the teacher moves first."""
        if batch.step > 0:
            teaching = self.teaching
            keep = momentum(batch.step, teaching.keep_start, teaching.keep_end, teaching.keep_steps)
            self.objective.follow(self.tokenizer.frame_encoder().encoder, keep)
        with dropout_of(self.device, self.seed, batch.step, self.global_rank):
            result = self.contrast(batch, _TRAINING)
        losses = Losses(result.loss, {"accuracy": result.accuracy})
        return self.checked(of_whole_batch(losses, result.count if batch.counts else 0))

    def validation_step(self, batch: SpeechBatch, index: int) -> None:
        """Adds up loss and accuracy, with the same random numbers every time."""
        if not batch.counts:
            return
        result = self.contrast(batch, _VALIDATION)
        self._counted["loss"] += float(result.loss) * result.count
        self._counted["accuracy"] += float(result.accuracy) * result.count
        self._counted["steps"] += result.count

    def on_validation_epoch_end(self) -> None:
        """Logs the means over all steps of the validation recordings."""
        counted = counts_of_all(self._counted, self.device)
        steps = max(1.0, counted.pop("steps"))
        self.log_dict({f"valid_{name}": value / steps for name, value in counted.items()}, prog_bar=True)
        self._counted = dict.fromkeys(self._counted, 0.0)

    def contrast(self, batch: SpeechBatch, use: int) -> Contrast:
        """The objective on a batch, with the draws that belong to it."""
        parts = self.tokenizer.frame_encoder()
        with torch.no_grad():
            frames, lengths = parts.frames(batch.audio)  # [B, F, M], [B]
        draws = self.draws(batch, use, lengths.tolist(), frames.shape[2], parts.stride)
        return self.objective(parts.encoder, frames, lengths, draws, parts.mask_frame)

    def draws(self, batch: SpeechBatch, use: int, frame_lengths: list[int], num_mels: int, stride: int) -> Draws:
        """What is random about a step."""
        key = (self.seed, use, batch.step)
        drawn = draw(
            self.masking,
            frame_lengths,
            [-(-length // stride) for length in frame_lengths],
            num_mels,
            self.teaching.num_negatives,
            generator(*key),
            [generator(*key, 1 + row) for row in batch.rows],
        )
        return self.transfer_batch_to_device(drawn, self.device, 0)

    def configure_optimizers(self) -> Any:
        """AdamW with the stage's schedule over student, projector and predictor."""
        optimizer, schedule = self.optim.build([item for item in self.parameters() if item.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
