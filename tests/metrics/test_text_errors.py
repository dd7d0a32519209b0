"""Error rates of texts: against a table filled by hand, with signatures that tell ways of counting apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnikit.errors import OmnikitError, UnknownName
from omnikit.metrics.text_errors import NORMALISERS, text_errors

NONE = NORMALISERS["none"]
TEXTS = st.lists(st.text(alphabet="ab c", min_size=1, max_size=8), min_size=1, max_size=4)


def slow_distance(one: str, other: str) -> int:
    """The textbook recursion, one row of its table at a time."""
    row = list(range(len(other) + 1))
    for place, symbol in enumerate(one, start=1):
        before, row[0] = row[0], place
        for column, wanted in enumerate(other, start=1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (symbol != wanted))
    return row[-1]


@given(TEXTS, st.data())
def test_characters_against_the_table(references: list[str], data: st.DataObject) -> None:
    said = data.draw(st.lists(st.text(alphabet="ab c", max_size=8), min_size=len(references), max_size=len(references)))
    edits = sum(map(slow_distance, references, said))
    assert text_errors(references, said, "cer", NONE).rate.value == pytest.approx(edits / len("".join(references)))


@given(TEXTS)
def test_equal_texts_have_no_errors(texts: list[str]) -> None:
    assert text_errors(texts, texts, "cer", NONE).rate.value == 0.0


def test_words_are_counted_in_words() -> None:
    references, said = ["It's a red square.", "yes"], ["its a red square", ""]
    assert text_errors(references, said, "wer", NONE).rate.value == 3 / 5
    assert text_errors(references, said, "wer", NORMALISERS["cut"]).rate.value == 1 / 5
    assert text_errors(references, said, "wer", NORMALISERS["words"]).rate.value == 2 / 5


def test_a_long_hypothesis_counts_whole() -> None:
    assert text_errors(["word"], ["word " * 2000], "wer", NONE).rate.value == 1999


def test_signatures_name_the_whole_way() -> None:
    found = text_errors(["Yes."], ["yes"], "wer", NORMALISERS["words"])
    assert found.signature == "wer[norm:words.1,case:lower,punct:parts,tok:spaces]"
    assert str(found) == f"{found.rate} {found.signature}"
    every = {
        text_errors(["a"], ["a"], metric, way).signature for metric in ("wer", "cer") for way in NORMALISERS.values()
    }
    assert len(every) == 2 * len(NORMALISERS)
    assert not any("|" in signature for signature in every)  # they stand in Markdown tables


def test_bad_input_is_named() -> None:
    with pytest.raises(OmnikitError, match="2 reference texts and 1 hypotheses"):
        text_errors(["a", "b"], ["a"], "wer", NONE)
    with pytest.raises(UnknownName, match="wer"):
        text_errors(["a"], ["a"], "we", NONE)  # type: ignore[arg-type]
