"""`projector/mlp`."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from omnikit.contracts import Free, contract_of
from omnikit.errors import OmnikitError
from omnikit.projectors.mlp import MLPProjector
from omnikit.types import Frames


def test_lengths_and_rate_travel_with_the_features() -> None:
    projector = MLPProjector(in_dim=6, out_dim=10)
    given = Frames(torch.randn(2, 5, 6), torch.tensor([5, 3]), Fraction(25))
    projected = projector.project(given)
    assert projected.features.shape == (2, 5, 10)
    assert projected.lengths is given.lengths and projected.rate == 25


def test_every_position_is_projected_by_itself() -> None:
    projector = MLPProjector(in_dim=6, out_dim=10, depth=3)
    features = torch.randn(1, 4, 6)
    whole = projector.project(Frames(features, torch.tensor([4]))).features
    alone = projector.project(Frames(features[:, 2:3], torch.tensor([1]))).features
    torch.testing.assert_close(whole[:, 2:3], alone)


def test_both_widths_are_derived_in_a_system() -> None:
    contract = contract_of(MLPProjector, {"in_dim": "derived", "out_dim": "derived", "depth": 2})
    assert contract.needs["frames"].dim == Free("in_dim")
    assert contract.gives["embeds"].dim == Free("out_dim")


@pytest.mark.parametrize("depth", [0, -1])
def test_a_projector_without_layers_is_refused(depth: int) -> None:
    with pytest.raises(OmnikitError, match=f"depth is {depth}"):
        MLPProjector(in_dim=6, out_dim=10, depth=depth)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(OmnikitError, match="width 6, not 7"):
        MLPProjector(in_dim=6, out_dim=10).project(Frames(torch.randn(1, 4, 7), torch.tensor([4])))
