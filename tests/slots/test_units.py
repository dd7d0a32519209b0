"""What every reader of units asks of them: vocabulary, codebooks, layout, lengths, range; and durations."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from omnikit.contracts import DERIVED
from omnikit.errors import ContractError, DataError, OmnikitError, WeightsError
from omnikit.slots.units import check_known, frames_of_codes, own_codes
from omnikit.types import Units

CODES = torch.tensor([[[0, 3, 1], [6, 0, 2]], [[2, 0, 0], [5, 0, 0]]])  # [B, K, T]
UNITS = Units(CODES, torch.tensor([3, 1]), (4, 7), Fraction(25), "mine")


def test_own_units_are_given_back() -> None:
    assert own_codes(UNITS, [4, 7], "mine", "tokenizer/x") is CODES
    reduced = replace(UNITS, layout="reduced")
    assert own_codes(reduced, (4, 7), "mine", "tokenizer/x", "reduced") is CODES


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"vocab_id": "other"}, WeightsError, "'other', detokenizer/x has 'mine'"),
        ({"sizes": (4, 8)}, ContractError, r"takes \[4, 7\]"),
        ({"codes": CODES[:, :1]}, ContractError, r"takes \[4, 7\]"),
        ({"layout": "reduced"}, ContractError, "in layout 'frame'"),
        ({"lengths": torch.tensor([3, 0])}, DataError, "1 to 3 units"),
        ({"lengths": torch.tensor([4, 1])}, DataError, "1 to 3 units"),
        ({"codes": CODES - 1}, DataError, "-1 to 5 came"),
        ({"codes": CODES.flip(1)}, DataError, "0 to 6"),  # 6 is no id of the first codebook
    ],
)
def test_other_units_are_refused(changes: dict[str, object], kind: type[OmnikitError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        own_codes(replace(UNITS, **changes), (4, 7), "mine", "detokenizer/x")
    assert len(str(caught.value).splitlines()) <= 8


def test_codes_last_as_long_as_they_are_told() -> None:
    rows = frames_of_codes(CODES, UNITS.lengths, None)
    assert [row.tolist() for row in rows] == [[[0, 3, 1], [6, 0, 2]], [[2], [5]]]
    told = torch.tensor([[2, 0, 1], [3, 9, 9]])
    rows = frames_of_codes(CODES, UNITS.lengths, told)
    assert [row.tolist() for row in rows] == [[[0, 0, 1], [6, 6, 2]], [[2, 2, 2], [5, 5, 5]]]


@pytest.mark.parametrize("told", [torch.ones(2, 2).long(), torch.ones(2, 3), torch.tensor([[1, 1, 1], [0, 1, 1]])])
def test_durations_that_cannot_be_are_refused(told: torch.Tensor) -> None:
    with pytest.raises(DataError):
        frames_of_codes(CODES, UNITS.lengths, told)


def test_what_nobody_has_said_yet_is_refused() -> None:
    check_known("detokenizer/x", [4], "mine")
    for said in ((DERIVED, "mine"), ([4], DERIVED)):
        with pytest.raises(ContractError, match="Build it as part of a system"):
            check_known("detokenizer/x", *said)
