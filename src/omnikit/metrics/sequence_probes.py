"""Small probes that read a sequence: what lies in the order and timing of frames, not only in their average.

Many probes are trained side by side on the same batches; none shares a weight with another, so each learns as if alone.
Letters: N sequences, B batch, T frames, D features, P probes, H hidden width, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from omnikit.errors import OmnikitError

HIDDEN = 32
KERNEL = 5
STEPS = 250
BATCH_SIZE = 32
MAX_FRAMES = 128
RATE = 5e-3
DROPOUT = 0.1
UNUSED = -1


@dataclass(frozen=True)
class Question:
    """What one probe learns: a class a sequence (`labels` [N]) or a frame (N arrays [T]); -1 is left out."""

    labels: Sequence[int] | Sequence[np.ndarray]
    num_classes: int


class SequenceProbes(nn.Module):
    """P independent probes: one convolution over 5 frames to H values, and a linear layer that reads them.

    A probe of whole sequences reads the attention-weighted and the plain mean over time, a probe of frames each frame.
    """

    def __init__(self, dim: int, num_classes: Sequence[int], by_frame: bool, draws: torch.Generator) -> None:
        super().__init__()
        num, most = len(num_classes), max(num_classes)
        width = num * HIDDEN
        reads = HIDDEN if by_frame else 2 * HIDDEN
        self.by_frame = by_frame

        def drawn(*shape: int, fan_in: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=draws) / math.sqrt(fan_in))

        self.look = drawn(width, dim, KERNEL, fan_in=dim * KERNEL)
        self.look_bias = nn.Parameter(torch.zeros(width))
        self.attend = drawn(num, HIDDEN, fan_in=HIDDEN)
        self.leave = drawn(num, reads, most, fan_in=reads)
        self.leave_bias = nn.Parameter(torch.zeros(num, most))
        absent = torch.arange(most) >= torch.tensor(num_classes)[:, None]  # [P, C]
        self.register_buffer("absent", absent)

    absent: Tensor

    def forward(self, frames: Tensor, lengths: Tensor, draws: torch.Generator | None = None) -> Tensor:
        """Logits [B, P, C], or [B, T, P, C] by frame, of `frames` [B, T, D]; with `draws`, dropout as in training."""
        valid = torch.arange(frames.shape[1]) < lengths[:, None]  # [B, T]
        hidden = functional.conv1d(
            frames.transpose(1, 2), self.look, self.look_bias, padding=KERNEL // 2
        )  # [B, P H, T]
        hidden = functional.gelu(hidden).transpose(1, 2).unflatten(2, (-1, HIDDEN))  # [B, T, P, H]
        if not self.by_frame:
            scores = torch.einsum("btph,ph->btp", hidden, self.attend).masked_fill(~valid[..., None], -math.inf)
            attended = torch.einsum("btp,btph->bph", scores.softmax(1), hidden)
            mean = torch.einsum("bt,btph->bph", valid / lengths[:, None], hidden)
            hidden = torch.cat([attended, mean], dim=-1)  # [B, P, 2 H]
        if draws is not None:
            kept = torch.rand(hidden.shape, generator=draws) >= DROPOUT
            hidden = hidden * kept / (1 - DROPOUT)
        logits = torch.einsum("...ph,phc->...pc", hidden, self.leave) + self.leave_bias
        return logits.masked_fill(self.absent, -math.inf)


def read_sequences(
    train: Sequence[np.ndarray], questions: Sequence[Question], test: Sequence[np.ndarray], *, by_frame: bool, seed: int
) -> list[list[np.ndarray]]:
    """Train one probe a question on `train` (N arrays [T, D]) and read `test`: P lists of a class array a sequence.

    The arrays hold one class, or one a frame when `by_frame`. Features are standardised by the training frames; every
    class weighs the same; AdamW, 250 steps of 32 sequences (of at most 128 frames), rate 5e-3 falling to 0 by a cosine.
    Raises `OmnikitError` when there is nothing to train on.
    """
    if not train or not questions:
        raise OmnikitError("Sequence probes need training sequences and questions; one of them is empty.")
    stacked = np.concatenate(list(train))  # [sum T, D]
    mean, deviation = stacked.mean(0), stacked.std(0)
    deviation = np.where(deviation > 1e-6, deviation, 1.0)
    draws, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    probes = SequenceProbes(stacked.shape[1], [item.num_classes for item in questions], by_frame, draws)
    weights = torch.stack([_class_weights(item, by_frame, int(probes.absent.shape[1])) for item in questions])  # [P, C]
    optimizer = torch.optim.AdamW(probes.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    order: list[int] = []
    for _ in range(STEPS):
        while len(order) < min(BATCH_SIZE, len(train)):
            order += rng.permutation(len(train)).tolist()
        rows, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        starts = [int(rng.integers(0, max(1, len(train[row]) - MAX_FRAMES + 1))) for row in rows]
        parts = [
            (train[row][start : start + MAX_FRAMES] - mean) / deviation for row, start in zip(rows, starts, strict=True)
        ]
        frames, lengths = _padded(parts)
        targets = _targets(questions, rows, starts, frames.shape[1], by_frame)
        loss = _loss(probes(frames, lengths, draws), targets, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return _read(probes, [(part - mean) / deviation for part in test], len(questions))


@torch.no_grad()
def _read(probes: SequenceProbes, sequences: Sequence[np.ndarray], num_probes: int) -> list[list[np.ndarray]]:
    answers: list[list[np.ndarray]] = [[np.empty(0)] * len(sequences) for _ in range(num_probes)]
    order = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))
    for begin in range(0, len(order), BATCH_SIZE):
        rows = order[begin : begin + BATCH_SIZE]
        frames, lengths = _padded([sequences[row] for row in rows])
        classes = probes(frames, lengths).argmax(-1).numpy()  # [B, P] or [B, T, P]
        for place, row in enumerate(rows):
            own = classes[place, : len(sequences[row])] if probes.by_frame else classes[place]
            for number in range(num_probes):
                answers[number][row] = own[..., number]
    return answers


def _padded(parts: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Sequences [T, D] as one batch [B, T, D] with their lengths [B]."""
    lengths = torch.tensor([len(part) for part in parts])
    batch = torch.zeros(len(parts), int(lengths.max()), parts[0].shape[1])
    for row, part in zip(batch, parts, strict=True):
        row[: len(part)] = torch.from_numpy(np.asarray(part, dtype=np.float32))
    return batch, lengths


def _targets(
    questions: Sequence[Question], rows: Sequence[int], starts: Sequence[int], length: int, by_frame: bool
) -> Tensor:
    """Classes [B, P] or [B, T, P] of a batch, -1 where there is none."""
    if not by_frame:
        return torch.tensor([[int(item.labels[row]) for item in questions] for row in rows])
    targets = torch.full((len(rows), length, len(questions)), UNUSED)
    for place, (row, start) in enumerate(zip(rows, starts, strict=True)):
        for number, item in enumerate(questions):
            own = np.asarray(item.labels[row])[start : start + length]
            targets[place, : len(own), number] = torch.from_numpy(own.astype(np.int64))
    return targets


def _class_weights(question: Question, by_frame: bool, width: int) -> Tensor:
    """One over how often each class occurs, so that classes count alike: [C], zeros for those that never do."""
    labels = np.concatenate([np.asarray(own) for own in question.labels]) if by_frame else np.asarray(question.labels)
    counts = np.bincount(labels[labels != UNUSED].astype(int), minlength=width)
    there = counts > 0
    weights = np.where(there, counts.sum() / np.maximum(counts, 1) / max(int(there.sum()), 1), 0.0)
    return torch.tensor(weights, dtype=torch.float32)


def _loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum over the probes of their weighted mean cross-entropy; a probe without a target in this batch adds 0."""
    used = targets != UNUSED
    chosen = targets.clamp(min=0)
    logs = logits.log_softmax(-1).gather(-1, chosen[..., None]).squeeze(-1)  # [B, P] or [B, T, P]
    shares = weights.expand(*targets.shape, -1).gather(-1, chosen[..., None]).squeeze(-1) * used
    summed = tuple(range(targets.dim() - 1))
    logs = torch.where(used, logs, 0.0)
    return (-(logs * shares).sum(summed) / used.sum(summed).clamp(min=1)).sum()
