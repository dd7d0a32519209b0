"""SPIRAL's self-supervised objective: a student that sees a spoiled utterance predicts what its teacher sees in it.

The teacher is a running average of the student, on whole but shifted frames. A prediction has to be nearer to the
teacher's projection of the same step than to those of other steps of the same utterance.
Letters: B batch, F frames, M mel bands, T steps, D encoder width, P projection width, K negatives.

Ref: Huang et al., "SPIRAL", ICLR 2022, section 3; contrast within the utterance: Baevski et al., "wav2vec 2.0",
NeurIPS 2020, equation 3.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.nn.processes import sum_over_processes
from omnikit.nn.running_average import follow
from omnikit.nn.spiral import valid_steps
from omnikit.nn.spiral_masking import Draws, hide, shift


@dataclass(frozen=True)
class Contrast:
    """What comes of a step: `loss` and `accuracy` are means over the `count` valid steps of the batch.

    `prediction` and `target` [B, T, P] with `lengths` [B].
    """

    loss: Tensor
    accuracy: Tensor
    count: int
    prediction: Tensor
    target: Tensor
    lengths: Tensor


def momentum(step: int, start: float, end: float, num_steps: int) -> float:
    """How much of the teacher stays at `step`: from `start` to `end` along half a cosine, then `end`."""
    done = min(1.0, step / num_steps)
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * done))


class StepNorm(nn.Module):
    """Batch normalisation over the valid steps of the whole batch, also where several processes share it.

    With `count_padding` padded steps take part, as in the published training; then results depend on the padding.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, dim: int, count_padding: bool = False, eps: float = 1e-3, momentum: float = 0.01) -> None:
        super().__init__()
        self.count_padding, self.eps, self.momentum = count_padding, eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Steps x [B, T, D], `valid` [B, T] → normalised steps in float32; padded ones are meaningless."""
        x = x.float()
        mean, variance = self.running_mean, self.running_var
        if self.training:
            counted = torch.ones_like(valid) if self.count_padding else valid
            chosen = x[counted]  # [N, D]
            count = sum_over_processes(counted.sum())
            mean = sum_over_processes(chosen.sum(0)) / count
            variance = sum_over_processes((chosen - mean).square().sum(0)) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class Projection(nn.Module):
    """A linear layer from the encoder's width to that of the contrast."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.output_proj = nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Steps x [B, T, D] → [B, T, P]."""
        return self.output_proj(x)


class Predictor(nn.Module):
    """Two convolutions of five taps with batch normalisation and ReLU, then a linear layer; padding reads as zeros."""

    def __init__(self, dim: int, hidden_dim: int, count_padding: bool = False) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "conv": nn.ModuleDict({"conv": nn.Conv1d(width, hidden_dim, 5, padding=2, bias=False)}),
                    "norm": StepNorm(hidden_dim, count_padding),
                }
            )
            for width in (dim, hidden_dim)
        )
        self.output_proj = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Steps x [B, T, P] with `lengths` [B] → [B, T, P]."""
        valid = valid_steps(lengths, x.shape[1])
        for layer in self.conv_layers:
            x = (x * valid[..., None]).transpose(1, 2)  # [B, P, T]
            x = functional.relu(layer["norm"](layer["conv"]["conv"](x).transpose(1, 2), valid))
        return self.output_proj(x)


class SpiralPretraining(nn.Module):
    """The objective without the student itself, whose encoder `(frames, lengths) → (steps, lengths)` is given.

    Args:
        encoder: the student, of which the teacher starts as a copy.
        encoder_dim: width of its steps.
        stride: frames that make one step.
        projection_dim, predictor_dim: widths of the contrast and inside the predictor.
        temperature: divides cosines before the softmax.
        count_padding: see `StepNorm`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        encoder_dim: int,
        stride: int,
        projection_dim: int = 256,
        predictor_dim: int = 256,
        temperature: float = 0.3,
        count_padding: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.temperature = stride, temperature
        self.projector = Projection(encoder_dim, projection_dim)
        self.predictor = Predictor(projection_dim, predictor_dim, count_padding)
        self.target_feature_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)

    @torch.no_grad()
    def follow(self, student: nn.Module, keep: float) -> None:
        """Move the teacher to the student: `keep` of it stays. Buffers do not move."""
        pairs = ((self.target_feature_encoder, student), (self.target_projector, self.projector))
        for teacher, own in pairs:
            follow(teacher, own, keep)

    def forward(self, student: nn.Module, frames: Tensor, lengths: Tensor, draws: Draws, filler: Tensor) -> Contrast:
        """The contrast of clean frames [B, F, M] with `lengths` [B]; `filler` [M] stands for what is hidden or new."""
        steps, step_lengths = student(hide(frames, draws, filler), lengths)
        num_steps = int(step_lengths.max())
        prediction = self.predictor(self.projector(steps), step_lengths)[:, :num_steps]
        with torch.no_grad():
            before, after = draws.shift
            shifted = shift(frames, lengths, before * self.stride, after * self.stride, filler)
            target, _ = self.target_feature_encoder(*shifted)
            target = self.target_projector(target)[:, before : before + num_steps]
        loss, accuracy = contrast(prediction, target, step_lengths, draws.negatives, self.temperature)
        return Contrast(loss, accuracy, int(step_lengths.sum()), prediction, target, step_lengths)


def contrast(
    prediction: Tensor, target: Tensor, lengths: Tensor, negatives: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE over the valid steps: mean cross-entropy of finding the own target among `negatives`, and its accuracy.

    Args: `prediction`, `target` [B, T, P]; `lengths` [B]; `negatives` [B, T, K] steps of the same row; those whose
    target equals the own one do not count.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target = prediction.float(), target.float()
        cosines = functional.normalize(prediction, dim=-1) @ functional.normalize(target, dim=-1).transpose(1, 2)
        same = torch.cdist(target, target, p=float("inf")) == 0  # [B, T, T]
        own = cosines.diagonal(dim1=1, dim2=2)[..., None]  # [B, T, 1]
        others = cosines.gather(2, negatives).masked_fill(same.gather(2, negatives), float("-inf"))  # [B, T, K]
        logits = torch.cat([own, others], 2)[valid_steps(lengths, prediction.shape[1])] / temperature  # [N, 1 + K]
        goal = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return functional.cross_entropy(logits, goal), (logits.detach().argmax(1) == goal).float().mean()
