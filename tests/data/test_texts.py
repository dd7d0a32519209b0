"""Sentences: allowed characters, wide vocabulary, and a split that depends on the words alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnikit.data import texts
from omnikit.data.words import VOCABULARY
from omnikit.errors import DataError


def test_texts_are_plain_and_varied() -> None:
    rng = random.Random(0)
    drawn = [texts.general_text(rng) for _ in range(3000)]
    for text in drawn:
        texts.check_text(text)
        assert "{" not in text and " a a" not in text
    assert len(set(drawn)) > 2950
    assert len(VOCABULARY) >= 700
    used = {word for text in drawn for word in texts.normalise_text(text).split()}
    assert len(used) >= 700


def test_the_same_generator_gives_the_same_texts() -> None:
    one, other = random.Random(5), random.Random(5)
    assert [texts.general_text(one) for _ in range(50)] == [texts.general_text(other) for _ in range(50)]


@pytest.mark.parametrize("text", ["Hello.", "four 4", "naïve", "yes!", ""])
def test_other_characters_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="lower-case ASCII"):
        texts.check_text(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The Cat, sat.", "the cat sat"), ("it's  mine?", "it's mine"), ("'quoted'", "quoted"), (" . ", "")],
)
def test_normalising(text: str, normal: str) -> None:
    assert texts.normalise_text(text) == normal


@given(words=st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_the_split_ignores_case_and_punctuation(words: list[str], seed: int) -> None:
    split = texts.split_of_text(" ".join(words), seed)
    assert split in texts.SPLITS
    assert texts.split_of_text(", ".join(words).upper() + "?", seed) == split


def test_the_shares_of_the_splits() -> None:
    drawn = [texts.split_of_text(f"text number {index}", 3) for index in range(20_000)]
    shares = {split: drawn.count(split) / len(drawn) for split in texts.SPLITS}
    assert shares == pytest.approx({"train": 0.88, "valid": 0.04, "test": 0.08}, abs=0.01)
    other = [texts.split_of_text(f"text number {index}", 4) for index in range(20_000)]
    assert other != drawn


@pytest.mark.parametrize(
    ("noun", "many"), [("dog", "dogs"), ("box", "boxes"), ("church", "churches"), ("knife", "knives"), ("toy", "toys")]
)
def test_plurals(noun: str, many: str) -> None:
    assert texts.plural(noun) == many
    assert texts.plural("butterfly") == "butterflies"
