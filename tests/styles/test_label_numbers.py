"""Numbers as labels of the table of centroids."""

from __future__ import annotations

import itertools

import pytest
import torch

from omnikit.errors import OmnikitError
from omnikit.styles.label_centroid import LabelCentroid

FACTORS = {"emotion": ["neutral", "sad"], "speed": ["normal", "slow", "fast"], "pitch": ["normal", "low", "high"]}
ROWS = [dict(zip(FACTORS, values, strict=True)) for values in itertools.product(*FACTORS.values())]


@pytest.fixture
def table() -> LabelCentroid:
    style = LabelCentroid(dim=5, factors=FACTORS)
    style.fit(torch.randn(len(ROWS), 5, generator=torch.Generator().manual_seed(1)), ROWS, "space")
    return style


def test_halfway_between_two_names_is_the_mean_of_their_vectors(table: LabelCentroid) -> None:
    found = table.from_labels([{"emotion": "sad", "speed": 0.9}])
    ends = table.from_labels([{"emotion": "sad", "speed": "slow"}, {"emotion": "sad"}]).vector
    torch.testing.assert_close(found.vector[0], ends.mean(0))
    assert found.labels == ({"emotion": "sad", "speed": 0.9, "pitch": "normal"},)


def test_two_numbers_mix_four_vectors(table: LabelCentroid) -> None:
    found = table.from_labels([{"speed": 1.05, "pitch": "1.25"}]).vector[0]
    corners = [{"speed": speed, "pitch": pitch} for speed in ("normal", "fast") for pitch in ("normal", "high")]
    weights = torch.tensor([0.8 * 0.5, 0.8 * 0.5, 0.2 * 0.5, 0.2 * 0.5])
    torch.testing.assert_close(found, weights @ table.from_labels(corners).vector)


def test_names_alone_are_rows_of_the_table_bit_by_bit(table: LabelCentroid) -> None:
    assert torch.equal(table.from_labels(ROWS).vector, table.centroids)


def test_a_number_counts_as_its_nearest_name_when_it_is_learnt() -> None:
    style = LabelCentroid(dim=1, factors=FACTORS)
    style.fit(torch.tensor([[1.0], [3.0]]), [{"speed": 1.2}, {"speed": "fast"}], "space")
    assert style.from_labels([{"speed": "fast"}]).vector.tolist() == [[2.0]]
    assert style.count_of({"speed": "fast"}) == 2 and style.count_of({"speed": "slow"}) == 0


def test_the_shipped_table_takes_numbers() -> None:
    import omnikit

    style = omnikit.load("tiny#style")
    slow, middle, normal = style.from_labels([{"speed": value} for value in ("slow", 0.9, "normal")]).vector
    torch.testing.assert_close(middle, (slow + normal) / 2)
    with pytest.raises(OmnikitError, match="outside the scale"):
        style.from_labels([{"pitch": 12}])


def test_examples_that_are_not_finite_are_refused(table: LabelCentroid) -> None:
    with pytest.raises(OmnikitError, match="NaN"):
        table.fit(torch.full((1, 5), torch.nan), [{}], "space")
