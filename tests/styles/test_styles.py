"""`style/none` and `style/label_centroid`."""

from __future__ import annotations

import itertools

import pytest
import torch

from omnikit.contracts import contract_of
from omnikit.errors import OmnikitError, UnknownName
from omnikit.styles.label_centroid import FACTORS, UNFITTED, LabelCentroid
from omnikit.styles.none import NoStyle

SMALL = {"emotion": ["neutral", "sad"], "pitch": ["normal", "low", "high"]}
COMBINATIONS = [dict(zip(SMALL, values, strict=True)) for values in itertools.product(*SMALL.values())]


def additive_world() -> dict[tuple[str, str], torch.Tensor]:
    """True vectors that are a sum of one vector a label."""
    generator = torch.Generator().manual_seed(3)
    parts = {value: torch.randn(5, generator=generator) for values in SMALL.values() for value in values}
    return {(row["emotion"], row["pitch"]): parts[row["emotion"]] + parts[row["pitch"]] for row in COMBINATIONS}


def test_no_style_has_nothing_to_choose() -> None:
    style = NoStyle()
    assert style.factors == {}
    given = style.from_labels([{}, {}])
    assert given.vector is None and given.space_id is None and given.labels == ({}, {})
    with pytest.raises(UnknownName, match="emotion"):
        style.from_labels([{"emotion": "sad"}])
    assert contract_of(NoStyle, {}).gives["style"].view == "none"
    style.fit(torch.randn(2, 4), [{}, {}], "space")
    assert style.from_labels([{}]) == given.__class__(labels=({},), source="user")


def test_a_seen_combination_is_the_mean_of_its_examples() -> None:
    style = LabelCentroid(dim=2, factors=SMALL)
    vectors = torch.tensor([[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]])
    style.fit(vectors, [{"emotion": "sad"}, {"emotion": "sad", "pitch": "normal"}, {"pitch": "high"}], "space")
    assert style.from_labels([{"emotion": "sad"}]).vector.tolist() == [[2.0, 1.0]]
    assert style.known_combinations() == [
        {"emotion": "neutral", "pitch": "high"},
        {"emotion": "sad", "pitch": "normal"},
    ]


@pytest.mark.parametrize("held_out", [("sad", "high"), ("neutral", "low"), ("sad", "normal")])
def test_an_unseen_combination_is_predicted_from_its_factors(held_out: tuple[str, str]) -> None:
    truth = additive_world()
    seen = [row for row in COMBINATIONS if tuple(row.values()) != held_out]
    style = LabelCentroid(dim=5, factors=SMALL)
    style.fit(torch.stack([truth[tuple(row.values())] for row in seen]), seen, "space")
    predicted = style.from_labels([dict(zip(SMALL, held_out, strict=True))]).vector[0]
    torch.testing.assert_close(predicted, truth[held_out], atol=1e-5, rtol=0)
    assert dict(zip(SMALL, held_out, strict=True)) not in style.known_combinations()


def test_a_value_without_any_example_changes_nothing() -> None:
    style = LabelCentroid(dim=2, factors=SMALL)
    style.fit(torch.tensor([[2.0, 4.0], [4.0, 4.0]]), [{"emotion": "sad"}, {"emotion": "neutral"}], "space")
    high, low = style.from_labels([{"pitch": "high"}, {"pitch": "low"}]).vector
    assert bool(high.isfinite().all())
    torch.testing.assert_close(high, low)


def test_missing_factors_take_their_default_and_the_labels_say_so() -> None:
    style = LabelCentroid(dim=3)
    given = style.from_labels([{"pitch": "low"}], source="model")
    assert given.labels == ({"gender": "female", "emotion": "neutral", "speed": "normal", "pitch": "low"},)
    assert given.vector.shape == (1, 3) and given.source == "model"
    assert {name: list(values) for name, values in style.factors.items()} == FACTORS


@pytest.mark.parametrize(
    ("labels", "said"), [({"mood": "sad"}, "emotion"), ({"emotion": "sadd"}, "Did you mean 'sad'")]
)
def test_unknown_names_are_refused_with_what_exists(labels: dict[str, str], said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        LabelCentroid(dim=3).from_labels([labels])


def test_fitting_names_the_space_in_contract_and_parameters() -> None:
    style = LabelCentroid(dim=2, factors=SMALL)
    assert style.parameters_given["space_id"] == UNFITTED
    assert contract_of(LabelCentroid, style.parameters_given).gives["style"].space_id == UNFITTED
    style.fit(torch.randn(2, 2), [{}, {"emotion": "sad"}], "voice-1")
    assert contract_of(LabelCentroid, style.parameters_given).gives["style"].space_id == "voice-1"


def test_parameters_and_state_dict_hold_everything() -> None:
    style = LabelCentroid(dim=2, factors=SMALL)
    style.fit(torch.randn(2, 2), [{}, {"emotion": "sad"}], "voice-1")
    again = LabelCentroid(**style.parameters_given)
    again.load_state_dict(style.state_dict())
    assert again.known_combinations() == style.known_combinations()
    torch.testing.assert_close(again.from_labels(COMBINATIONS).vector, style.from_labels(COMBINATIONS).vector)
    assert again.from_labels([{}]).space_id == "voice-1"


@pytest.mark.parametrize(("shape", "rows"), [((2, 3), 2), ((2, 2), 3), ((0, 2), 0), ((2,), 2)])
def test_examples_that_do_not_fit_are_refused(shape: tuple[int, ...], rows: int) -> None:
    with pytest.raises(OmnikitError, match="one vector of 2 numbers"):
        LabelCentroid(dim=2, factors=SMALL).fit(torch.zeros(shape), [{}] * rows, "space")


@pytest.mark.parametrize("values", [[], ["a", "a"]])
def test_factors_need_distinct_values(values: list[str]) -> None:
    with pytest.raises(OmnikitError, match="distinct"):
        LabelCentroid(dim=2, factors={"emotion": values})
