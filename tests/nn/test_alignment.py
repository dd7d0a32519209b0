"""Monotonic alignment against brute force, and expansion by durations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.errors import DataError
from omnikit.nn import native
from omnikit.nn.alignment import (
    FrameCount,
    durations_of,
    monotonic_path,
    path_of,
    searched_path,
    take_units,
    whole_frames,
)
from omnikit.nn.alignment_kernel import native_path

Search = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


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


@pytest.mark.parametrize("search", [monotonic_path, searched_path])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_equals_brute_force_in_padded_batches(search: Search, data: st.DataObject) -> None:
    units = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    frames = [data.draw(st.integers(count, 7)) for count in units]
    draws = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    value = torch.randint(-2, 3, (len(units), max(frames), max(units)), generator=draws).float()  # small: many ties
    path = search(value, torch.tensor(frames), torch.tensor(units))
    for row, (num_frames, num_units) in enumerate(zip(frames, units, strict=True)):
        assert path[row, :num_frames].tolist() == brute_force(value[row, :num_frames, :num_units])
    durations = durations_of(path, torch.tensor(frames), max(units))
    assert durations.sum(1).tolist() == frames
    for row, num_units in enumerate(units):
        assert (durations[row, :num_units] > 0).all()
        assert not durations[row, num_units:].any()


def test_kernel_and_plain_search_agree_at_full_size() -> None:
    value = torch.randn(3, 300, 90, generator=torch.Generator().manual_seed(0))
    frames, units = torch.tensor([300, 90, 211]), torch.tensor([90, 90, 1])
    found = native_path(value, frames, units)
    if found is None:
        pytest.skip("no compiler on this machine")
    assert torch.equal(found, searched_path(value, frames, units))
    assert native_path(value.double(), frames, units) is None  # the plain search takes every type


def test_without_a_compiler_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = "int answer(void) { return 42; }"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, value in (("CC", str(tmp_path / "no-compiler")), ("OMNIKIT_NATIVE", "0")):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            native.library.cache_clear()
            assert native.library(source) is None
    native.library.cache_clear()
    assert native.library("this is no C") is None
    built = native.library(source)
    if shutil.which("cc"):
        assert built.answer() == 42 and len(list(tmp_path.rglob("*.so"))) == 1
        native.library.cache_clear()
        (tmp_path / "omnikit" / "native").chmod(0o777)
        assert native.library(source) is None  # others could have put anything there
    native.library.cache_clear()


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


@settings(max_examples=50, deadline=None)
@given(
    durations=st.lists(st.floats(0, 9), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 12), max_size=3),
    rounded=st.booleans(),
)
def test_frames_are_counted_alike_in_blocks(durations: list[float], cuts: list[int], rounded: bool) -> None:
    real = torch.tensor([durations], dtype=torch.float64)
    bounds = [0, *sorted({cut for cut in cuts if cut < len(durations)}), len(durations)]
    count = FrameCount(rounded)
    blocks = [count(real[:, start:stop], stop == len(durations)) for start, stop in pairwise(bounds)]
    expected = whole_frames(real) if rounded else real.ceil().long()
    expected[:, -1] += expected.sum() == 0
    assert torch.equal(torch.cat(blocks, 1), expected)


def test_units_are_repeated_along_the_path() -> None:
    x = torch.arange(6.0).reshape(1, 2, 3)
    assert take_units(x, torch.tensor([[0, 0, 2, 2]])).tolist() == [[[0, 0, 2, 2], [3, 3, 5, 5]]]
