"""The contrast, the teacher and the batch normalisation of SPIRAL pre-training against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from omnikit.nn.spiral_masking import Masking, draw
from omnikit.nn.spiral_pretraining import SpiralPretraining, StepNorm, contrast, momentum


class Halving(nn.Module):
    """An encoder of one layer: two frames make a step."""

    def __init__(self, num_mels: int = 6, dim: int = 8) -> None:
        super().__init__()
        self.layer = nn.Linear(2 * num_mels, dim)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = functional.pad(frames, (0, 0, 0, frames.shape[1] % 2))
        return self.layer(frames.unflatten(1, (-1, 2)).flatten(2)), (lengths + 1) // 2


def plain_contrast(
    prediction: torch.Tensor, target: torch.Tensor, lengths: torch.Tensor, negatives: torch.Tensor, temperature: float
) -> float:
    """Step by step, as equation 3 of wav2vec 2.0 reads."""
    losses = []
    for row, length in enumerate(lengths.tolist()):
        for step in range(length):
            own = functional.cosine_similarity(prediction[row, step], target[row, step], dim=0) / temperature
            others = [
                functional.cosine_similarity(prediction[row, step], target[row, other], dim=0) / temperature
                for other in negatives[row, step].tolist()
                if not torch.equal(target[row, other], target[row, step])
            ]
            losses.append(torch.logsumexp(torch.stack([own, *others]), 0) - own)
    return float(torch.stack(losses).mean())


def test_contrast_is_the_formula_and_equal_targets_do_not_count() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 7, 5), torch.randn(2, 7, 5)
    target[0, 3] = target[0, 1]
    negatives = torch.randint(4, (2, 7, 6))
    lengths = torch.tensor([7, 4])
    loss, accuracy = contrast(prediction, target, lengths, negatives, 0.3)
    assert loss.item() == pytest.approx(plain_contrast(prediction, target, lengths, negatives, 0.3), rel=1e-5)
    assert 0 <= accuracy <= 1
    found, right = contrast(target, target, lengths, negatives, 0.01)
    assert right == 1 and found < loss


def test_momentum_goes_from_start_to_end_and_stays() -> None:
    at = [momentum(step, 0.99, 0.999, 100) for step in (0, 50, 100, 150)]
    assert at == pytest.approx([0.99, 0.9945, 0.999, 0.999])
    assert momentum(25, 0.0, 1.0, 100) == pytest.approx(1 - 0.5 * (1 + math.cos(math.pi / 4)))


def test_step_norm_ignores_padding_unless_told_to_count_it() -> None:
    torch.manual_seed(0)
    x, valid = torch.randn(2, 5, 3) * 4 + 1, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    norm, plain = StepNorm(3), nn.BatchNorm1d(3, eps=1e-3, momentum=0.01)
    expected = plain(x[valid])
    torch.testing.assert_close(norm(x, valid)[valid], expected)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value, msg=name)
    torch.testing.assert_close(norm.eval()(x, valid)[valid], plain.eval()(x[valid]))
    counting, plain = StepNorm(3, count_padding=True), nn.BatchNorm1d(3, eps=1e-3)
    torch.testing.assert_close(counting(x, valid).flatten(0, 1), plain(x.flatten(0, 1)))


def test_padding_changes_nothing_and_the_teacher_learns_only_by_following() -> None:
    torch.manual_seed(0)
    student = Halving()
    objective = SpiralPretraining(student, 8, 2, projection_dim=4, predictor_dim=4)
    frames, lengths = torch.randn(2, 12, 6), torch.tensor([12, 7])
    frames[1, 7:] = 0

    def drawn() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    draws = draw(Masking(time_span=3, channel_span=2, max_shift=3), [12, 7], [6, 4], 6, 5, drawn(), [drawn(), drawn()])
    filler = torch.full((6,), 0.1)
    result = objective(student, frames, lengths, draws, filler)
    wider = objective(student, functional.pad(frames, (0, 0, 0, 4)), lengths, draws, filler)
    assert result.count == 10
    torch.testing.assert_close(wider.loss, result.loss)
    result.loss.backward()
    assert all(item.grad is not None for item in student.parameters())
    assert all(item.grad is None for item in objective.target_feature_encoder.parameters())

    teacher = objective.target_feature_encoder.layer.weight
    before = teacher.clone()
    with torch.no_grad():
        student.layer.weight.add_(1.0)
    objective.follow(student, keep=0.75)
    torch.testing.assert_close(teacher, before + 0.25)
    assert not teacher.requires_grad


def test_a_lone_step_teaches_nothing_and_breaks_nothing() -> None:
    one = torch.randn(1, 1, 4, requires_grad=True)
    loss, accuracy = contrast(one, torch.randn(1, 1, 4), torch.tensor([1]), torch.zeros(1, 1, 3, dtype=torch.long), 0.3)
    loss.backward()
    assert loss == 0 and accuracy == 1 and bool(one.grad.isfinite().all())
