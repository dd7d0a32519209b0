"""`projector/qformer` and `projector/residual`."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from omnikit.errors import OmnikitError
from omnikit.projectors.qformer import QFormerProjector
from omnikit.projectors.residual import ResidualProjector
from omnikit.types import Frames


def make() -> QFormerProjector:
    torch.manual_seed(0)
    return QFormerProjector(in_dim=6, out_dim=10, num_queries=3, dim=16, depth=2, heads=2).eval()


def frames(lengths: list[int]) -> Frames:
    features = torch.randn(len(lengths), max(lengths), 6, generator=torch.Generator().manual_seed(1))
    return Frames(features, torch.tensor(lengths))


@torch.no_grad()
def test_any_number_of_positions_becomes_the_queries() -> None:
    projector, given = make(), frames([9, 4])
    projected = projector.project(given)
    assert projected.features.shape == (2, 3, 10) and projected.lengths.tolist() == [3, 3]
    assert projector.num_positions(4) == projector.num_positions(900) == 3


@torch.no_grad()
def test_padding_is_not_looked_at() -> None:
    projector, given = make(), frames([9, 4])
    alone = projector.project(Frames(given.features[1:, :4], given.lengths[1:]))
    torch.testing.assert_close(projector.project(given).features[1:], alone.features, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_queries_read_different_things() -> None:
    features = make().project(frames([9])).features[0]
    assert not torch.allclose(features[0], features[1])


def test_what_it_cannot_read_is_refused() -> None:
    given = frames([4])
    with pytest.raises(OmnikitError, match="width 6, not 5"):
        make().project(Frames(given.features[..., :5], given.lengths))
    with pytest.raises(OmnikitError, match="clock"):
        make().project(Frames(given.features, given.lengths, Fraction(25)))
    with pytest.raises(OmnikitError, match="multiple of heads"):
        QFormerProjector(in_dim=6, out_dim=10, dim=10, heads=4)
    with pytest.raises(OmnikitError, match="at least 1"):
        QFormerProjector(in_dim=6, out_dim=10, depth=0)


@torch.no_grad()
def test_a_residual_projector_adds_to_its_normalised_input() -> None:
    projector = ResidualProjector(dim=6)
    for weight in projector.proj[-1].parameters():
        weight.zero_()
    given = Frames(frames([4]).features, torch.tensor([4]), Fraction(25))
    projected = projector.project(given)
    torch.testing.assert_close(projected.features, projector.pre_norm(given.features))
    assert projected.rate == 25 and projected.lengths is given.lengths
    with pytest.raises(OmnikitError, match="width 6, not 3"):
        projector.project(Frames(given.features[..., :3], given.lengths))
