"""Mixing by tokens: shares, bounds, and going on from any place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.data.packing import Mixture, Shuffled, Skipped
from omnikit.errors import DataError

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def mixture(lengths: dict[str, list[int]], weights: dict[str, float], size: int = 100) -> Mixture[tuple[str, int]]:
    streams = {
        name: Shuffled([(name, number) for number in range(len(own))], own, seed=(1, place), limit=size)
        for place, (name, own) in enumerate(lengths.items())
    }
    return Mixture(streams, weights, size)


@given(LENGTHS, LENGTHS, st.floats(0.05, 20.0))
@settings(max_examples=40, deadline=None)
def test_batches_are_full_and_no_source_is_further_from_its_share_than_a_sample(
    first: list[int], second: list[int], weight: float
) -> None:
    mixed = mixture({"a": first, "b": second}, {"a": weight, "b": 1.0})
    share = weight / (weight + 1)
    given_a = whole = 0
    for _ in range(12):
        batch = mixed.batch()
        tokens = sum(row.tokens for row in batch)
        assert 60 < tokens <= 100
        for row in batch:
            whole += row.tokens
            given_a += row.tokens if row.source == "a" else 0
            assert abs(given_a - share * whole) <= 40


@given(LENGTHS, LENGTHS, st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_a_mixture_goes_on_from_where_it_was_left(first: list[int], second: list[int], left: int) -> None:
    lengths, weights = {"a": first, "b": second}, {"a": 1.0, "b": 2.0}
    whole, early, late = (mixture(lengths, weights) for _ in range(3))
    expected = [whole.batch() for _ in range(left + 4)]
    for _ in range(left):
        early.batch()
    late.restore(early.state())
    assert [late.batch() for _ in range(4)] == expected[left:]


def test_a_pass_holds_every_sample_once_in_an_order_of_its_own() -> None:
    stream = Shuffled(list(range(20)), [1] * 20, seed=(5,), limit=1)
    passes = []
    for _ in range(2):
        passes.append([])
        for _ in range(20):
            passes[-1].append(stream.peek().sample)
            stream.advance()
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(20)) and passes[0] != passes[1]


def test_what_is_too_long_is_left_out_and_named_once() -> None:
    mixed = mixture({"a": [4, 200, 5]}, {"a": 1.0})
    assert {row.sample[1] for _ in range(3) for row in mixed.batch()} == {0, 2}
    assert mixed.skipped() == [Skipped("a: sample 1", "takes 200 positions, at most 100 fit")] and mixed.skipped() == []
    with pytest.raises(DataError, match="None of 2 samples fits into 100"):
        mixture({"a": [101, 200]}, {"a": 1.0})


def test_a_mixture_of_nothing_and_the_place_of_another_are_refused() -> None:
    with pytest.raises(DataError, match="weights above 0"):
        mixture({}, {})
    with pytest.raises(DataError, match="mixture of b;"):
        mixture({"a": [1]}, {"a": 1.0}).restore({"b": (0, 0)})
