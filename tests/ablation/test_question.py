"""Questions: every kind of study makes its arms, and what contradicts itself is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ablation.conftest import QUESTION

from omnikit.ablation.question import Question, seeds_of
from omnikit.errors import OmnikitError

A, B = ["x=1"], ["y=2"]


def asked(**changes: Any) -> Question:
    kept = {name: value for name, value in QUESTION.items() if name not in ("arms", "baseline")}
    return Question.read({**kept, **changes})


def rows(question: Question) -> dict[str, tuple[str, ...]]:
    return {arm.name: arm.overrides for arm in question.arms}


def test_one_at_a_time_adds_a_baseline_without_overrides_unless_an_arm_is_one() -> None:
    assert rows(asked(arms={"a": A, "b": B})) == {"baseline": (), "a": ("x=1",), "b": ("y=2",)}
    assert rows(asked(arms={"a": A, "b": B}, baseline="a")) == {"a": ("x=1",), "b": ("y=2",)}
    assert rows(asked(axes={"x": [1, 2], "y": [3]})) == {
        "baseline": (),
        "x=1": ("x=1",),
        "x=2": ("x=2",),
        "y=3": ("y=3",),
    }


def test_leave_one_out_has_everything_but_one() -> None:
    assert rows(asked(kind="leave_one_out", arms={"a": A, "b": B}, baseline="all")) == {
        "all": ("x=1", "y=2"),
        "without a": ("y=2",),
        "without b": ("x=1",),
    }


def test_cumulative_adds_one_change_after_another() -> None:
    assert rows(asked(kind="cumulative", arms={"a": A, "b": B})) == {
        "baseline": (),
        "+ a": ("x=1",),
        "+ b": ("x=1", "y=2"),
    }


def test_product_zip_and_curve_read_axes() -> None:
    axes = {"x": [1, 2], "y": [[3, 4], None]}
    product = rows(asked(kind="product", axes=axes, baseline="x=1,y=[3,4]"))
    assert list(product) == ["x=1,y=[3,4]", "x=1,y=null", "x=2,y=[3,4]", "x=2,y=null"]
    assert product["x=2,y=null"] == ("x=2", "y=null")
    assert list(rows(asked(kind="zip", axes=axes, baseline="x=1,y=[3,4]"))) == ["x=1,y=[3,4]", "x=2,y=null"]
    curve = rows(asked(kind="curve", axes={"x": [0.5, True]}, baseline="0.5"))
    assert curve == {"0.5": ("x=0.5",), "true": ("x=true",)}


def test_an_arm_may_have_stages_of_its_own() -> None:
    question = asked(arms={"a": {"overrides": A, "stages": ["style"]}})
    assert question.arms[1].stages == ("style",) and question.arms[0].stages is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "products", "arms": {"a": A}}, "Did you mean 'product'?"),
        ({"arms": {"a": A}, "axes": {"x": [1]}}, "not both"),
        ({"kind": "product", "arms": {"a": A}}, "needs axes"),
        ({"kind": "cumulative", "axes": {"x": [1]}}, "needs arms"),
        ({}, "needs arms or axes"),
        ({"kind": "curve", "axes": {"x": [1], "y": [2]}, "baseline": "1"}, "one axis, not 2"),
        ({"kind": "zip", "axes": {"x": [1], "y": [2, 3]}, "baseline": "1"}, "equally long"),
        ({"kind": "curve", "axes": {"x": [1]}, "baseline": "2"}, "Unknown baseline '2'"),
        ({"kind": "curve", "axes": {"x": [1, 1]}, "baseline": "1"}, "Two arms are called '1'"),
        ({"arms": {"a": "x=1"}}, "overrides are a list"),
        ({"arms": {"a": {"override": A}}}, "may have overrides, and stages or trained_as"),
        ({"arms": {"a": A}, "seed": 3}, "Did you mean 'seeds'?"),
        ({"arms": {"a": A}, "primary": None}, "lacks primary"),
        ({"arms": {"a": A}, "seeds": []}, "no list of different seeds"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(OmnikitError) as caught:
        asked(**changes)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 8


def test_seeds_are_a_list_or_their_number() -> None:
    assert seeds_of(3) == seeds_of([0, 1, 2]) == (0, 1, 2)
    for wrong in (0, [1, 1], ["1"], [-1], [True], "0"):
        with pytest.raises(OmnikitError, match="seeds"):
            seeds_of(wrong)


def test_an_arm_may_be_trained_as_another_of_the_same_question() -> None:
    arms = {"a": A, "b": {"overrides": B, "trained_as": "a"}}
    assert [arm.trained_as for arm in asked(arms=arms, baseline="a").arms] == [None, "a"]
    for changes, told in (
        ({"arms": {"a": A, "b": {"overrides": B, "trained_as": "c"}}}, "is trained as 'c'"),
        ({"arms": {**arms, "c": {"overrides": B, "trained_as": "b"}}}, "is trained as 'b'"),
        ({"arms": {"a": A, "b": {"overrides": B, "trained_as": "a", "stages": []}}}, "has stages of its own"),
        ({"arms": arms, "kind": "cumulative", "baseline": None}, "cannot join"),
    ):
        with pytest.raises(OmnikitError, match=told):
            asked(**{"baseline": "a", **changes})
