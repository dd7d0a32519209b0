"""Sizes of pictures: native resolution and any-res slices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnikit.errors import MediaError, OmnikitError
from omnikit.nn.picture_sizes import AnyRes, NativeSize, grids_of, unpadded
from omnikit.nn.slices import join_flat, join_spatial, slices_length

SIDES = st.integers(1, 4000)


@given(SIDES, SIDES, st.sampled_from([8, 16, 28]), st.integers(1, 100), st.integers(1, 4000))
def test_a_fitted_picture_is_within_its_bounds(height: int, width: int, unit: int, low: int, span: int) -> None:
    size = NativeSize(unit, low * unit**2, (low + span) * unit**2)
    try:
        rows, columns = size.fit(height, width)
    except MediaError:
        assert max(height, width) > 200 * min(height, width)
        return
    assert rows % unit == 0 and columns % unit == 0 and min(rows, columns) >= unit
    assert rows * columns <= size.max_pixels


def test_a_picture_keeps_its_shape_where_it_can() -> None:
    assert NativeSize().fit(480, 640) == (476, 644)
    assert NativeSize().fit(28, 28) == (56, 56)
    assert NativeSize().fit(6000, 3000) == (2520, 1260)
    for height, width in ((100, 20_001), (20_001, 100)):
        with pytest.raises(MediaError, match="200 times"):
            NativeSize().fit(height, width)
    with pytest.raises(MediaError, match="no pixels"):
        NativeSize().fit(0, 10)


@given(SIDES, SIDES, st.sampled_from([4, 9]))
def test_a_picture_lies_in_the_middle_of_its_tiles(height: int, width: int, tiles: int) -> None:
    plan = AnyRes(336, grids_of(tiles)).plan(height, width)
    for whole, part, offset in zip(plan.canvas, plan.resized, plan.offset, strict=True):
        assert 0 < part <= whole and offset == (whole - part) // 2
    assert any(part == whole for whole, part in zip(plan.canvas, plan.resized, strict=True))
    assert 3 <= plan.num_slices <= 1 + tiles


def test_grids_are_every_way_to_lay_tiles() -> None:
    assert grids_of(4) == ((1, 2), (2, 1), (1, 3), (3, 1), (1, 4), (2, 2), (4, 1))


def test_joined_slices_have_the_counted_length_and_order() -> None:
    plan = AnyRes(8, ((2, 1),)).plan(60, 100)  # two tiles side by side
    features = torch.arange(3 * 4 * 2.0).view(3, 4, 2)  # 3 slices of 2 x 2 positions
    flat, spatial = join_flat(features), join_spatial(features, plan)
    assert flat[:, 0].tolist() == [float(number) for number in range(0, 24, 2)]
    assert spatial[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 16, 18, 12, 14, 20, 22]
    assert len(flat) == len(spatial) == slices_length(plan, 2, (60, 100), newline=False)


def test_a_newline_ends_every_row_of_what_the_picture_fills() -> None:
    size = (30, 100)
    plan = AnyRes(8, ((2, 2),)).plan(*size)
    assert unpadded(8, 8, *size) == (2, 8)
    features = torch.arange(5 * 16.0).view(5, 16, 1)
    newline = torch.tensor([-1.0])
    joined = join_spatial(features, plan, size, newline)[:, 0]
    assert len(joined) == slices_length(plan, 4, size, newline=True) == 16 + 2 * 9
    assert joined[16:25].tolist() == [28, 29, 30, 31, 44, 45, 46, 47, -1]  # the last row of the upper tiles
    assert joined[25:34].tolist() == [48, 49, 50, 51, 64, 65, 66, 67, -1]  # the first row of the lower ones
    assert join_spatial(features[:1], plan, size, newline)[:, 0].tolist() == [*range(16), -1]


def test_slices_that_do_not_belong_to_the_plan_are_refused() -> None:
    plan = AnyRes(8, ((2, 1),)).plan(60, 100)
    with pytest.raises(OmnikitError, match="4 slices"):
        join_spatial(torch.zeros(4, 4, 2), plan)
    with pytest.raises(OmnikitError, match="size of the picture"):
        join_spatial(torch.zeros(3, 4, 2), plan, newline=torch.zeros(2))
