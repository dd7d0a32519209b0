"""Sequence probes: they read order, which no average holds, and learn nothing from each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omnikit.errors import OmnikitError
from omnikit.metrics import sequence_probes
from omnikit.metrics.sequence_probes import UNUSED, Question, SequenceProbes, read_sequences


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_probes, "STEPS", 80)


def order_task(num: int, seed: int) -> tuple[list[np.ndarray], list[int]]:
    """Fast and slow alternations of +1 and -1: the same mean and deviation, another order."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num).tolist()
    rows = []
    for label in labels:
        length = int(rng.integers(16, 33)) * 4
        signs = np.where(np.arange(length) // (1 if label else 2) % 2, 1.0, -1.0)
        rows.append((signs[:, None] + 0.1 * rng.standard_normal((length, 2))).astype(np.float32))
    return rows, labels


def test_order_is_read_where_an_average_says_nothing() -> None:
    (train, labels), (test, right) = order_task(60, 0), order_task(40, 1)
    shuffled = np.random.default_rng(2).permutation(labels).tolist()
    read, control = read_sequences(train, [Question(labels, 2), Question(shuffled, 2)], test, by_frame=False, seed=0)
    assert np.mean([int(own) == label for own, label in zip(read, right, strict=True)]) > 0.95
    assert np.mean([int(own) == label for own, label in zip(control, right, strict=True)]) < 0.8


def test_a_frame_is_read_with_its_neighbours() -> None:
    """The class of a frame is what stands two frames before it."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 2, 40) for _ in range(60)]
    frames = [np.eye(2, dtype=np.float32)[row] for row in rows]
    labels = [np.where(np.arange(40) < 2, UNUSED, np.roll(row, 2)) for row in rows]
    (read,) = read_sequences(frames[:40], [Question(labels[:40], 2)], frames[40:], by_frame=True, seed=0)
    hits = [own[2:] == label[2:] for own, label in zip(read, labels[40:], strict=True)]
    assert np.mean(hits) > 0.95


def test_padding_is_not_read_and_absent_classes_are_never_said() -> None:
    probes = SequenceProbes(3, [2, 5], False, torch.Generator().manual_seed(0))
    frames = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(1))
    frames[1, 4:] = 0.0
    together = probes(frames, torch.tensor([9, 4]))
    alone = probes(frames[1:, :4], torch.tensor([4]))
    assert torch.allclose(together[1], alone[0], atol=1e-6)
    assert bool(torch.isinf(together[:, 0, 2:]).all())
    assert bool(torch.isfinite(together[:, 1]).all())


def test_one_probe_learns_nothing_of_another() -> None:
    probes = SequenceProbes(3, [2, 2], False, torch.Generator().manual_seed(0))
    probes(torch.randn(2, 6, 3), torch.tensor([6, 6]))[:, 0].sum().backward()
    assert probes.look.grad is not None
    assert bool(probes.look.grad[: sequence_probes.HIDDEN].any())
    assert not bool(probes.look.grad[sequence_probes.HIDDEN :].any())


def test_the_same_seed_reads_the_same() -> None:
    (train, labels), (test, _) = order_task(12, 0), order_task(6, 1)
    answers = [read_sequences(train, [Question(labels, 2)], test, by_frame=False, seed=3)[0] for _ in range(2)]
    assert answers[0] == answers[1]


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(OmnikitError, match="empty"):
        read_sequences([], [Question([], 2)], [], by_frame=False, seed=0)
