"""FSQ against its equations, over whole codebooks, and through the rounding."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.errors import OmnikitError
from omnikit.nn.fsq import FSQ

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=4)


def reference(z: list[float], levels: list[int]) -> tuple[list[float], int]:
    """One vector, number by number: its code and its id."""
    code, unit, basis = [], 0, 1
    for value, level in zip(z, levels, strict=True):
        half = (level - 1) * (1 - 1e-3) / 2
        offset = 0.0 if level % 2 else 0.5
        rounded = round(math.tanh(value + math.tan(offset / half)) * half - offset)  # Python rounds half to even too
        code.append(rounded / (level // 2))
        unit += (rounded + level // 2) * basis
        basis *= level
    return code, unit


@settings(deadline=None, max_examples=40)
@given(levels=LEVELS, seed=st.integers(0, 2**16))
def test_codes_and_ids_follow_the_equations(levels: list[int], seed: int) -> None:
    z = 3 * torch.randn(32, len(levels), generator=torch.Generator().manual_seed(seed))
    quantizer = FSQ(levels)
    bounded = quantizer.bound(z)
    z = z[((bounded - bounded.floor() - 0.5).abs() > 1e-4).all(-1)]  # float32 may round the other way nearer than this
    codes, ids = quantizer(z)
    for vector, code, unit in zip(z.tolist(), codes.tolist(), ids.tolist(), strict=True):
        expected, expected_id = reference(vector, levels)
        assert code == pytest.approx(expected, abs=1e-6)
        assert unit == expected_id


@settings(deadline=None, max_examples=40)
@given(levels=LEVELS)
def test_every_id_has_its_own_code_and_is_found_again(levels: list[int]) -> None:
    quantizer = FSQ(levels)
    ids = torch.arange(quantizer.num_codes)
    codes = quantizer.codes_from_ids(ids)
    assert quantizer.num_codes == math.prod(levels)
    assert len(codes.unique(dim=0)) == quantizer.num_codes
    assert codes.min() >= -1 and codes.max() <= 1
    widths = torch.tensor([level // 2 for level in levels])
    half = torch.tensor([(level - 1) * (1 - 1e-3) / 2 for level in levels])
    offset = torch.tensor([0.0 if level % 2 else 0.5 for level in levels])
    z = torch.atanh(((codes * widths + offset) / half).clamp(-0.9999, 0.9999)) - torch.tan(offset / half)
    again, found = quantizer(z)
    assert torch.equal(found, ids)
    torch.testing.assert_close(again, codes)


def test_the_first_dimension_is_the_least_significant_digit() -> None:
    codes = FSQ([8, 8, 8, 8]).codes_from_ids(torch.tensor([1, 8, 64, 512]))
    assert codes.tolist() == (torch.eye(4) / 4 - 1).tolist()


def test_gradient_passes_the_rounding_as_if_it_were_not_there() -> None:
    quantizer = FSQ([8, 5, 3])
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    codes, _ = quantizer(z)
    (got,) = torch.autograd.grad((codes * weights).sum(), z)
    (expected,) = torch.autograd.grad((quantizer.bound(z) / torch.tensor([4.0, 2.0, 1.0]) * weights).sum(), z)
    torch.testing.assert_close(got, expected)
    assert got.abs().min() > 0


def test_half_precision_input_gives_the_ids_of_its_own_values() -> None:
    z = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    quantizer = FSQ([8, 8, 8, 8])
    assert torch.equal(quantizer(z)[1], quantizer(z.float())[1])


@pytest.mark.parametrize("levels", [[], [8, 1], [0]])
def test_levels_below_two_are_refused(levels: list[int]) -> None:
    with pytest.raises(OmnikitError, match="2 or more"):
        FSQ(levels)
