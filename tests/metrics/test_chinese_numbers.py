"""Numbers in Chinese characters: known readings, and every number back from its reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnikit.errors import OmnikitError
from omnikit.metrics.chinese_numbers import (
    FINANCIAL,
    PLAIN,
    TRADITIONAL,
    Numerals,
    parse_number,
    spell_digits,
    spell_number,
)


@pytest.mark.parametrize(
    ("number", "reading"),
    [
        ("0", "零"),
        ("10", "十"),
        ("110", "一百一十"),
        ("1001", "一千零一"),
        ("12000", "一万两千"),
        ("20259", "两万零二百五十九"),
        ("120000002", "一亿两千万零二"),
        ("1000000000000", "一万亿"),
        ("0.25", "零点二五"),
    ],
)
def test_known_readings(number: str, reading: str) -> None:
    assert spell_number(number) == reading
    assert parse_number(reading) == number


@given(st.integers(0, 10**15), st.sampled_from([PLAIN, FINANCIAL, TRADITIONAL]))
def test_a_number_comes_back_from_its_reading(number: int, numerals: Numerals) -> None:
    assert parse_number(spell_number(str(number), numerals)) == str(number)
    assert parse_number(spell_digits(str(number), numerals)) == str(number)


@given(st.decimals(0, 10**9, places=3))
def test_decimals_come_back(number: object) -> None:
    assert parse_number(spell_number(f"{number:.3f}")) == f"{number:.3f}"


@pytest.mark.parametrize("text", ["", ".", "1.2.3", "-5", "1e3"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(OmnikitError, match="is no number"):
        spell_number(text)


@pytest.mark.parametrize("text", ["", "五个", "点五", "五点", "五点十"])
def test_what_is_no_reading_is_refused(text: str) -> None:
    with pytest.raises(OmnikitError, match="no number in Chinese"):
        parse_number(text)
