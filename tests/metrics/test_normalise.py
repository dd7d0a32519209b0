"""Normalised texts: what a second pass changes (nothing), and that words of one meaning meet."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnikit.metrics.american_spelling import american_spellings
from omnikit.metrics.normalise_chinese import ChineseNormaliser
from omnikit.metrics.normalise_english import WhisperEnglish, lower_without_punctuation
from omnikit.metrics.rates import words
from omnikit.metrics.text_errors import NORMALISERS

CHINESE = st.text(alphabet="今天是年月日号元块毛分个只万亿二两点零儿女呃啊0123456789/%％-+.,，。！ １２０", max_size=24)


@given(CHINESE)
def test_chinese_twice_is_once(text: str) -> None:
    for normaliser in (ChineseNormaliser(), ChineseNormaliser(half_width=True, case="lower", drop_fillers=True)):
        once = normaliser(text)
        assert normaliser(once) == once
        assert not any(character.isdecimal() for character in once)


@given(st.text(max_size=30))
def test_plain_rules_twice_are_once(text: str) -> None:
    assert words(" ".join(words(text))) == words(text)
    once = lower_without_punctuation(text)
    assert lower_without_punctuation(once) == once


@settings(deadline=None)  # the first call imports transformers
@given(st.lists(st.sampled_from(["the", "colour", "GREY", "can't", "she'll", "Dr.", "centre,", "[noise]", "café"])))
def test_english_twice_is_once(parts: list[str]) -> None:
    english = NORMALISERS["whisper_english"].apply
    once = english(" ".join(parts))
    assert english(once) == once


def test_english_numbers_and_spellings_meet() -> None:
    english = WhisperEnglish()
    assert english("twenty-one harbours") == english("21 harbors")
    assert WhisperEnglish({"mat": "rug"})("harbour mat") == "harbour rug"


def test_spellings_lead_to_words_that_stay() -> None:
    pairs = american_spellings()
    assert not set(pairs) & set(pairs.values())
    assert pairs["fulfilment"] == "fulfillment" and "fulfilled" not in pairs
    assert all(word not in pairs for word in ("vice", "four", "hour", "wise", "rise", "promise", "advertise", "here"))


@pytest.mark.parametrize(
    ("text", "read"),
    [("2024年3月5日", "二零二四年三月五日"), ("3/4", "四分之三"), ("他女儿在那边儿", "他女儿在那边"), ("B2B", "B2B")],
)
def test_chinese_readings(text: str, read: str) -> None:
    assert ChineseNormaliser(drop_erhua=True)(text) == read
