"""Error rates against counts made by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnikit.metrics.rates import edit_distance, error_rate, share, words


def slow_distance(a: list[int], b: list[int]) -> int:
    """The textbook recursion, as a table."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            swap = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, swap)
    return table[-1][-1]


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_edit_distance(a: list[int], b: list[int]) -> None:
    assert edit_distance(a, b) == slow_distance(a, b)


def test_a_rate_is_a_ratio_of_sums() -> None:
    rate = error_rate([["a"], ["b"] * 9], [["x"], ["b"] * 9])
    assert rate.value == 0.1
    assert rate.low <= rate.value <= rate.high
    assert rate.num_items == 2


def test_nothing_to_count_is_no_number() -> None:
    assert math.isnan(error_rate([], []).value)
    assert share([True, False, True, True]).value == 0.75


def test_a_share_is_never_sure() -> None:
    none, every, half = share([False] * 200), share([True] * 200), share([True, False] * 50)
    assert none.low == 0.0
    assert none.high == pytest.approx(0.0188, abs=1e-4)  # z² / (n + z²)
    assert (every.low, every.high) == (pytest.approx(1 - 0.0188, abs=1e-4), pytest.approx(1.0))
    assert (half.low, half.high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))


def test_words() -> None:
    assert words("It's red, the SMALL circle.") == ["it's", "red", "the", "small", "circle"]
