"""Readers make an encoder say the labels of what it hears."""

from __future__ import annotations

import torch
from torch.nn import functional

from omnikit.nn.label_readers import StyleReaders

FACTORS = {"speed": ["fast", "slow"], "pitch": ["high", "low", "normal"]}


def test_the_loss_is_the_sum_of_cross_entropies_by_hand() -> None:
    torch.manual_seed(0)
    readers = StyleReaders(FACTORS, 6)
    vectors = functional.normalize(torch.randn(2, 6), dim=-1)
    labels = ({"speed": "slow", "pitch": "high"}, {"speed": "fast", "pitch": "normal"})
    wanted = torch.zeros(())
    for row, (speed, pitch) in enumerate(((1, 0), (0, 2))):
        for name, target in (("speed", speed), ("pitch", pitch)):
            scores = readers.heads[name](10 * vectors[row])
            wanted = wanted - scores.log_softmax(-1)[target] / 2
    torch.testing.assert_close(readers.loss(vectors, labels), wanted)


def test_rows_without_a_label_teach_nothing() -> None:
    torch.manual_seed(0)
    readers = StyleReaders(FACTORS, 6)
    vectors = functional.normalize(torch.randn(2, 6), dim=-1).requires_grad_()
    loss = readers.loss(vectors, ({"speed": "slow"}, {"mood": "odd"}))
    loss.backward()
    assert vectors.grad[0].abs().sum() > 0 and not vectors.grad[1].any()
    assert readers.heads["pitch"].weight.grad is None or not readers.heads["pitch"].weight.grad.any()


def test_vectors_learn_to_say_their_labels() -> None:
    torch.manual_seed(0)
    readers, table = StyleReaders(FACTORS, 8), torch.nn.Embedding(6, 8)
    labels = [{"speed": speed, "pitch": pitch} for speed in FACTORS["speed"] for pitch in FACTORS["pitch"]]
    optimizer = torch.optim.Adam([*readers.parameters(), *table.parameters()], lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        vectors = functional.normalize(table.weight, dim=-1)
        readers.loss(vectors, labels).backward()
        optimizer.step()
    for name, head in readers.heads.items():
        said = head(functional.normalize(table.weight, dim=-1)).argmax(-1)
        assert [FACTORS[name][index] for index in said] == [row[name] for row in labels]
