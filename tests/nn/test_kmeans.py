"""The bottleneck without quantisation, and the clusters that become its units."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from omnikit.errors import OmnikitError
from omnikit.nn.kmeans import ContinuousBottleneck, kmeans

CENTRES = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0], [4.0, 4.0]])


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(num: int, seed: int) -> torch.Tensor:
    generator = draws(seed)
    return CENTRES[torch.arange(num) % 5] + 0.1 * torch.randn(num, 2, generator=generator)


def spread(vectors: torch.Tensor, means: torch.Tensor) -> float:
    return float(torch.cdist(vectors, means).min(1).values.square().mean())


def test_iterations_never_make_the_clusters_worse_and_end_near_the_centres() -> None:
    vectors = cloud(500, 1)
    errors = [spread(vectors, kmeans(vectors, 20, draws(3), num_steps=steps)) for steps in range(8)]
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(errors))
    assert errors[-1] < 0.1**2 * 2


def test_every_mean_is_the_mean_of_its_vectors() -> None:
    vectors = cloud(200, 2)
    means = kmeans(vectors, 5, draws(1), num_steps=50)
    ids = torch.cdist(vectors, means).argmin(1)
    for code in ids.unique().tolist():
        torch.testing.assert_close(means[code], vectors[ids == code].mean(0))


def test_no_cluster_stays_empty_where_there_are_vectors_enough() -> None:
    vectors = torch.cat([torch.zeros(300, 2), cloud(40, 4)])  # most starts fall on one point
    means = kmeans(vectors, 12, draws(2))
    assert torch.cdist(vectors, means).argmin(1).unique().numel() == 12


def test_the_generator_alone_decides() -> None:
    vectors, state = cloud(100, 3), torch.get_rng_state()
    assert torch.equal(kmeans(vectors, 7, draws(1)), kmeans(vectors, 7, draws(1)))
    assert not torch.equal(kmeans(vectors, 7, draws(1)), kmeans(vectors, 7, draws(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_fewer_vectors_than_clusters_are_all_kept() -> None:
    vectors = cloud(6, 5)
    means = kmeans(vectors, 10, draws())
    assert means.shape == (10, 2) and torch.cdist(vectors, means).min(1).values.max() == 0
    with pytest.raises(OmnikitError, match="needs vectors"):
        kmeans(vectors[:0], 3, draws())


def test_vectors_pass_untouched_until_units_are_fitted() -> None:
    bottleneck = ContinuousBottleneck(5, 2)
    z = cloud(60, 6).view(4, 15, 2).requires_grad_()
    codes, terms = bottleneck.learn(z, torch.ones(4, 15, dtype=torch.bool))
    assert torch.equal(codes, z) and not terms
    assert torch.equal(bottleneck(z)[0], z)
    bottleneck.fit(z.detach().flatten(0, 1), draws())
    codes, ids = bottleneck(z)
    assert torch.equal(codes, bottleneck.codes_from_ids(ids))
    assert (codes - z).norm(dim=-1).max() < 6
    assert torch.equal(bottleneck.learn(z, torch.ones(4, 15, dtype=torch.bool))[0], z)
    again = ContinuousBottleneck(5, 2)
    again.load_state_dict(bottleneck.state_dict())
    assert torch.equal(again(z)[0], codes), "a loaded bottleneck forgets that it is fitted"


@pytest.mark.parametrize("numbers", [(1, 4), (4, 0)])
def test_numbers_that_no_codebook_can_have_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(OmnikitError, match="at least 2 codes"):
        ContinuousBottleneck(*numbers)
