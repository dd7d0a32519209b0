"""Factors as choices and scales: names, numbers between names, and mixtures of combinations."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnikit.data import prosody
from omnikit.errors import OmnikitError, UnknownName
from omnikit.slots.style_factors import FactorSpace, parse_labels
from omnikit.styles import label_centroid, text_prompt

SPACE = FactorSpace(
    "style/x",
    {"emotion": ["neutral", "sad"], "speed": ["normal", "slow", "fast"], "pitch": ["normal", "low", "high"]},
    {"speed": {"slow": 0.8, "normal": 1.0, "fast": 1.25}, "pitch": {"low": -2.0, "normal": 0.0, "high": 2.0}},
)
labels = st.fixed_dictionaries(
    {},
    optional={
        "emotion": st.sampled_from(SPACE.factors["emotion"]),
        "speed": st.one_of(st.sampled_from(SPACE.factors["speed"]), st.floats(0.8, 1.25)),
        "pitch": st.one_of(st.sampled_from(SPACE.factors["pitch"]), st.floats(-2, 2)),
    },
)


@given(labels)
def test_a_mixture_is_positive_and_sums_to_one(row: dict[str, str | float]) -> None:
    mixed = SPACE.mixture(SPACE.complete(row))
    assert math.isclose(sum(mixed.values()), 1.0, abs_tol=1e-9)
    assert all(0 <= weight <= 1 and 0 <= index < SPACE.num_combinations for index, weight in mixed.items())
    assert len(mixed) == 2 ** sum(isinstance(value, float) for value in SPACE.complete(row).values())


@given(labels)
def test_a_mixture_has_the_mean_position_that_was_asked_for(row: dict[str, str | float]) -> None:
    full = SPACE.complete(row)
    combinations = SPACE.combinations()
    for name in SPACE.scales:
        mean = sum(
            weight * SPACE.position(name, combinations[index][name]) for index, weight in SPACE.mixture(full).items()
        )
        assert math.isclose(mean, SPACE.position(name, full[name]), abs_tol=1e-9)


@given(labels)
def test_completing_twice_changes_nothing(row: dict[str, str | float]) -> None:
    full = SPACE.complete(row)
    assert set(full) == set(SPACE.factors) and SPACE.complete(full) == full
    assert SPACE.complete({name: str(value) for name, value in full.items()}) == full


def test_combinations_are_in_the_order_of_their_rows() -> None:
    rows = SPACE.combinations()
    assert [SPACE.row(row) for row in rows] == list(range(SPACE.num_combinations)) and len(rows) == 18


def test_a_number_at_the_place_of_a_name_is_that_name() -> None:
    assert SPACE.complete({"speed": 1.25, "pitch": "-2"}) == {"emotion": "neutral", "speed": "fast", "pitch": "low"}


@pytest.mark.parametrize("value", [0.5, "1.3", math.inf, math.nan, True, "quick", None])
def test_what_lies_on_no_scale_is_refused_with_the_scale(value: object) -> None:
    with pytest.raises(OmnikitError, match=r"0\.8 \(slow\) to 1\.25 \(fast\)") as error:
        SPACE.complete({"speed": value})  # type: ignore[dict-item]
    assert "normal" in str(error.value) and len(str(error.value).splitlines()) <= 8


def test_a_factor_without_a_scale_takes_no_number() -> None:
    with pytest.raises(UnknownName, match="Accepted: neutral, sad"):
        SPACE.complete({"emotion": 0.5})


def test_places_of_absent_values_say_nothing() -> None:
    space = FactorSpace("style/x", {"speed": ["normal"]}, label_centroid.SCALES)
    assert space.scales == {}
    with pytest.raises(UnknownName):
        space.complete({"speed": 1.1})


def test_two_values_do_not_share_a_place() -> None:
    with pytest.raises(OmnikitError, match="distinct finite"):
        FactorSpace("style/x", {"speed": ["a", "b"]}, {"speed": {"a": 1.0, "b": 1.0}})


@pytest.mark.parametrize("module", [label_centroid, text_prompt])
def test_default_scales_are_what_the_corpus_does(module: object) -> None:
    assert module.SCALES == {"speed": prosody.SPEED_FACTORS, "pitch": prosody.PITCH_SEMITONES}
    assert {name: set(values) for name, values in module.FACTORS.items()} == {
        name: set(values) for name, values in prosody.FACTORS.items()
    }


def test_labels_are_read_from_text() -> None:
    assert parse_labels(" emotion = sad, speed=1.1 ,") == {"emotion": "sad", "speed": "1.1"}
    assert parse_labels("") == {}
    for wrong in ("sad", "=sad", "emotion=", "emotion=sad,loud"):
        with pytest.raises(OmnikitError, match="factor=value"):
            parse_labels(wrong)
