"""Monotonic alignment against brute force, and expansion by durations."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.errors import DataError
from omnikit.nn.alignment import durations_of, monotonic_path, path_of, take_units, whole_frames


def every_path(num_frames: int, num_units: int) -> list[list[int]]:
    """All monotonic paths that visit every unit."""
    paths = []
    for starts in combinations(range(1, num_frames), num_units - 1):
        edges = [0, *starts, num_frames]
        paths.append([unit for unit in range(num_units) for _ in range(edges[unit + 1] - edges[unit])])
    return paths


def brute_force(value: torch.Tensor) -> list[int]:
    """Of the best paths the one that, read from the end, holds the later unit longest."""
    frames = range(len(value))
    scored = [(sum(float(value[f, path[f]]) for f in frames), path[::-1]) for path in every_path(*value.shape)]
    return max(scored)[1][::-1]


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_equals_brute_force_in_padded_batches(data: st.DataObject) -> None:
    units = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    frames = [data.draw(st.integers(count, 7)) for count in units]
    draws = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    value = torch.randint(-2, 3, (len(units), max(frames), max(units)), generator=draws).float()  # small: many ties
    path = monotonic_path(value, torch.tensor(frames), torch.tensor(units))
    for row, (num_frames, num_units) in enumerate(zip(frames, units, strict=True)):
        assert path[row, :num_frames].tolist() == brute_force(value[row, :num_frames, :num_units])
    durations = durations_of(path, torch.tensor(frames), max(units))
    assert durations.sum(1).tolist() == frames
    for row, num_units in enumerate(units):
        assert (durations[row, :num_units] > 0).all()
        assert not durations[row, num_units:].any()


def test_fewer_frames_than_units_is_an_error() -> None:
    with pytest.raises(DataError, match="Row 1 of the batch has 3 units but only 2"):
        monotonic_path(torch.zeros(2, 4, 3), torch.tensor([4, 2]), torch.tensor([3, 3]))


@settings(max_examples=50, deadline=None)
@given(durations=st.lists(st.integers(0, 4), min_size=1, max_size=8).filter(lambda row: sum(row) > 0))
def test_paths_and_durations_undo_each_other(durations: list[int]) -> None:
    row = torch.tensor([durations])
    path = path_of(row, sum(durations) + 2)
    assert path[0, : sum(durations)].tolist() == [unit for unit, count in enumerate(durations) for _ in range(count)]
    assert torch.equal(durations_of(path, torch.tensor([sum(durations)]), len(durations)), row)


@settings(max_examples=50, deadline=None)
@given(durations=st.lists(st.floats(0, 9), min_size=1, max_size=30))
def test_rounding_errors_do_not_pile_up(durations: list[float]) -> None:
    real = torch.tensor([durations], dtype=torch.float64)
    whole = whole_frames(real)
    assert (whole >= 0).all()
    assert (whole.cumsum(1) - real.cumsum(1)).abs().max() <= 0.5 + 1e-9


def test_units_are_repeated_along_the_path() -> None:
    x = torch.arange(6.0).reshape(1, 2, 3)
    assert take_units(x, torch.tensor([[0, 0, 2, 2]])).tolist() == [[[0, 0, 2, 2], [3, 3, 5, 5]]]
