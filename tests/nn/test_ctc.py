"""The CTC head: loss against all alignments, greedy reading, padding."""

from __future__ import annotations

from itertools import groupby, product

import pytest
import torch

from omnikit.nn.ctc import ConvCTCDecoder, ctc_greedy, ctc_losses


def test_loss_is_the_sum_over_all_alignments() -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    lengths, targets, target_lengths = torch.tensor([4, 3]), torch.tensor([[0, 1], [1, 1]]), torch.tensor([2, 2])
    got = ctc_losses(logits, lengths, targets, target_lengths)
    for row in range(2):
        chances = logits[row, : lengths[row]].double().softmax(-1)
        total = 0.0
        for path in product(range(3), repeat=int(lengths[row])):
            if [phone for phone, _ in groupby(path) if phone != 2] == targets[row].tolist():
                total += float(torch.stack([chances[step, phone] for step, phone in enumerate(path)]).prod())
        assert float(got[row]) == pytest.approx(-torch.tensor(total).log().item(), rel=1e-5)


def test_targets_that_cannot_fit_cost_nothing() -> None:
    logits = torch.randn(1, 2, 4, requires_grad=True, generator=torch.Generator().manual_seed(0))
    losses = ctc_losses(logits, torch.tensor([2]), torch.tensor([[0, 1, 2]]), torch.tensor([3]))
    losses.sum().backward()
    assert losses.item() == 0
    assert logits.grad is not None and not logits.grad.any()


def test_greedy_merges_repeats_drops_blanks_and_stops_at_the_length() -> None:
    path = torch.tensor([[0, 0, 3, 0, 1, 1, 2], [3, 2, 2, 3, 3, 1, 1]])
    logits = torch.nn.functional.one_hot(path, 4).float()
    assert ctc_greedy(logits, torch.tensor([7, 5])) == [[0, 0, 1, 2], [2]]


def test_padding_does_not_reach_a_row() -> None:
    decoder = ConvCTCDecoder(4, 8, 5).eval()
    x = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(0))
    logits = decoder(x, torch.tensor([12, 7]))
    assert logits.shape == (2, 12, 6)
    torch.testing.assert_close(logits[1:, :7], decoder(x[1:, :7], torch.tensor([7])))
