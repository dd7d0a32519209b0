"""Mixing styles: weights, lengths, order, and spaces that do not mix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnikit.errors import ContractError, OmnikitError
from omnikit.nn.style_mixing import mix_styles, mix_vectors, shares
from omnikit.types import Style

weights = st.lists(st.floats(0.01, 10), min_size=1, max_size=5)


def vectors(number: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, 6, generator=torch.Generator().manual_seed(seed))


@given(weights)
def test_shares_sum_to_one_whatever_the_scale(given_weights: list[float]) -> None:
    share = shares(given_weights)
    assert sum(share) == pytest.approx(1.0)
    assert shares([7 * weight for weight in given_weights]) == pytest.approx(share)


@given(weights)
def test_a_mixture_has_the_mean_length_and_no_order(given_weights: list[float]) -> None:
    styles = vectors(len(given_weights))
    mixed = mix_vectors(styles, given_weights)
    length = torch.tensor(shares(given_weights)) @ styles.norm(dim=1)
    torch.testing.assert_close(mixed.norm(), length, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mix_vectors(styles.flip(0), given_weights[::-1]), mixed, rtol=1e-4, atol=1e-5)


def test_one_style_alone_is_itself_and_no_weight_takes_no_part() -> None:
    styles = vectors(3)
    torch.testing.assert_close(mix_vectors(styles[:1], [5.0]), styles[0])
    torch.testing.assert_close(mix_vectors(styles, [0.0, 2.0, 0.0]), styles[1])


def test_the_mixture_of_unit_vectors_lies_between_them() -> None:
    ends = torch.nn.functional.normalize(vectors(2), dim=1)
    angles = [float(mix_vectors(ends, [1 - share, share]) @ ends[1]) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert angles == sorted(angles)
    assert float(mix_vectors(ends, [1, 1]).norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [[], [0.0, 0.0], [1.0, -1.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_weights_that_say_nothing_are_refused(wrong: list[float]) -> None:
    with pytest.raises(OmnikitError, match="Weights"):
        shares(wrong)


def test_opposite_styles_have_no_middle() -> None:
    style = vectors(1)
    with pytest.raises(OmnikitError, match="cancel"):
        mix_vectors(torch.cat([style, -style]), [1.0, 1.0])


def test_styles_of_two_spaces_are_not_mixed() -> None:
    one, other = (Style(vector=vectors(1), space_id=space) for space in ("a", "b"))
    with pytest.raises(ContractError, match="different spaces"):
        mix_styles([one, other], [1, 1])
    with pytest.raises(ContractError, match="one vector each"):
        mix_styles([one, Style(labels=({},))], [1, 1])
    assert mix_styles([one, one], [1, 3]).space_id == "a"
