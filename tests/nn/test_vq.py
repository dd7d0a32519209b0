"""The learned codebook against the formulas of its running averages, on one process and on two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nn.vq_material import begun, draws, everything, learn_half, near_codes
from torch import multiprocessing

from omnikit.errors import OmnikitError
from omnikit.nn.vq import DEAD_SHARE, VectorQuantizer, nearest


def test_every_vector_gets_the_nearest_code() -> None:
    z, codebook = torch.randn(40, 3, generator=draws(0)), torch.randn(7, 3, generator=draws(1))
    by_hand = [min(range(7), key=lambda code: float((row - codebook[code]).norm())) for row in z]
    assert nearest(z, codebook).tolist() == by_hand


def test_the_codebook_follows_the_running_means_of_what_fell_to_it() -> None:
    quantizer = begun()
    z = near_codes(quantizer, 3, 8)
    valid = torch.arange(8) < torch.tensor([[8], [5], [7]])
    counts, sums = quantizer.ema_counts.clone(), quantizer.ema_sums.clone()
    ids = nearest(z, quantizer.codebook)
    quantizer.learn(z, valid)
    for code in range(4):
        own = z[valid & (ids == code)]
        count = 0.9 * counts[code] + 0.1 * len(own)
        mean = (0.9 * sums[code] + 0.1 * own.sum(0)) / count
        torch.testing.assert_close(quantizer.ema_counts[code], count)
        torch.testing.assert_close(quantizer.codebook[code], mean, rtol=1e-4, atol=1e-4)


def test_padding_teaches_nothing() -> None:
    one, other = begun(), begun()
    z = near_codes(one, 2, 8)
    valid = torch.arange(8) < torch.tensor([[8], [3]])
    noisy = torch.where(valid[..., None], z, torch.tensor(99.0))
    terms = [quantizer.learn(values, valid)[1] for quantizer, values in ((one, z), (other, noisy))]
    assert torch.equal(one.codebook, other.codebook)
    assert torch.equal(terms[0]["commitment"], terms[1]["commitment"])


def test_gradient_passes_straight_and_commits_the_encoder_alone() -> None:
    quantizer = begun().eval()
    z = near_codes(quantizer, 2, 4).requires_grad_()
    before = quantizer.codebook.clone()
    codes, terms = quantizer.learn(z, everything(z))
    weights = torch.randn(codes.shape, generator=draws(3))
    (straight,) = torch.autograd.grad((codes * weights).sum(), z, retain_graph=True)
    assert torch.equal(straight, weights)
    torch.testing.assert_close(codes, quantizer(z)[0])
    (pull,) = torch.autograd.grad(terms["commitment"], z)
    torch.testing.assert_close(pull, 0.25 * 2 * (z - codes).detach() / z.numel())
    assert torch.equal(quantizer.codebook, before), "evaluation moves the codebook"


def test_the_first_batch_places_the_codes() -> None:
    quantizer = VectorQuantizer(8, 3).train()
    z = 50 + torch.randn(2, 30, 3, generator=draws())
    quantizer.learn(z, everything(z))
    assert quantizer.codebook.min() > 40
    assert len(nearest(z, quantizer.codebook).unique()) > 4


def test_unused_codes_begin_anew_where_vectors_are() -> None:
    quantizer = begun(decay=0.5)
    quantizer.codebook[3] = quantizer.ema_sums[3] = 1000.0
    z = near_codes(quantizer, 2, 30)
    z[z > 500] = 0.0
    for _ in range(20):
        quantizer.learn(z, everything(z))
    assert quantizer.codebook.abs().max() < 100, "a code that nothing falls to stays where it is"
    assert (quantizer.ema_counts >= DEAD_SHARE * quantizer.ema_counts.mean()).all()


def test_restarts_follow_the_number_of_updates() -> None:
    torch.manual_seed(1)
    one = VectorQuantizer(16, 2).train()
    z = torch.randn(2, 40, 2, generator=draws(7))
    one.learn(z, everything(z))
    other = VectorQuantizer(16, 2).train()
    other.load_state_dict(one.state_dict())
    state = torch.get_rng_state()
    for quantizer in (one, other):
        quantizer.learn(z + 5, everything(z))
        quantizer.learn(z + 9, everything(z))
    assert torch.equal(one.codebook, other.codebook)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was drawn from"


def test_a_codebook_learns_the_clusters_of_its_vectors() -> None:
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    quantizer = VectorQuantizer(4, 2, decay=0.8).train()
    generator = draws(5)
    for _ in range(60):
        z = centres[torch.randint(4, (2, 50), generator=generator)]
        z = z + 0.2 * torch.randn(z.shape, generator=generator)
        quantizer.learn(z, everything(z))
    apart = torch.cdist(centres, quantizer.codebook)
    assert apart.min(1).values.max() < 0.3
    assert apart.argmin(1).unique().numel() == 4


def test_two_processes_learn_what_one_with_the_whole_batch_does(tmp_path: Path) -> None:
    whole = begun()
    z = near_codes(whole, 4, 8)
    whole.learn(z, everything(z))
    multiprocessing.spawn(learn_half, (str(tmp_path), z), nprocs=2)
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(shares[0][name], shares[1][name]), name
        torch.testing.assert_close(shares[0][name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("numbers", [(1, 4, 0.9, 0.25), (8, 0, 0.9, 0.25), (8, 4, 1.0, 0.25), (8, 4, 0.9, -1.0)])
def test_numbers_that_no_codebook_can_have_are_refused(numbers: tuple[int, int, float, float]) -> None:
    with pytest.raises(OmnikitError, match="Accepted"):
        VectorQuantizer(*numbers)
