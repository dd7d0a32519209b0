"""A pairwise cover leaves no pair out, and gives up none that some row can hold."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.testing.pairwise import Row, pairs_of, pairwise_cover

AXES = st.lists(st.integers(1, 3), min_size=2, max_size=4).map(
    lambda sizes: {f"axis{at}": [f"{at}.{value}" for value in range(size)] for at, size in enumerate(sizes)}
)


def every_pair(axes: dict[str, list[str]]) -> set:
    return {
        frozenset({(one, value), (other, partner)})
        for one, other in combinations(axes, 2)
        for value, partner in product(axes[one], axes[other])
    }


@settings(max_examples=30, deadline=None)
@given(axes=AXES)
def test_every_pair_occurs(axes: dict[str, list[str]]) -> None:
    cover = pairwise_cover(axes)
    assert not cover.impossible
    assert {pair for row in cover.rows for pair in pairs_of(row)} == every_pair(axes)
    assert all(list(row) == list(axes) for row in cover.rows)


@settings(max_examples=60, deadline=None)
@given(axes=AXES, data=st.data())
def test_pairs_are_in_rows_that_fit_or_in_none_that_could(axes: dict[str, list[str]], data: st.DataObject) -> None:
    pairs = sorted(map(sorted, every_pair(axes)))
    refused = {frozenset(map(tuple, pair)) for pair in data.draw(st.lists(st.sampled_from(pairs), max_size=6))}

    def fits(row: Row) -> bool:
        return not refused & set(pairs_of(row))

    cover = pairwise_cover(axes, fits)
    covered = {pair for row in cover.rows for pair in pairs_of(row)}
    impossible = {item.pair for item in cover.impossible}
    possible = {
        pair
        for row in (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))
        if fits(row)
        for pair in pairs_of(row)
    }
    assert all(map(fits, cover.rows))
    assert covered == possible
    held = {item for row in cover.rows for item in row.items()}
    assert {pair for pair in every_pair(axes) - possible if pair <= held} <= impossible <= every_pair(axes) - possible
    values = {(axis, value) for axis in axes for value in axes[axis]}
    assert held | {item for pair in impossible for item in pair} == values or not cover.rows
    assert cover.rows or cover.impossible
    for item in cover.impossible:
        assert {item.pair, *item.others} <= set(pairs_of(item.row)) - possible
    assert cover == pairwise_cover(axes, fits)


def test_a_cover_is_short() -> None:
    axes = {f"axis{at}": [f"{at}.{value}" for value in range(size)] for at, size in enumerate((7, 4, 6, 6, 4))}
    assert 42 <= len(pairwise_cover(axes).rows) <= 46
