"""Word and character error rates of texts, each with a signature that says exactly what was compared.

Two error rates are comparable where their signatures are equal (the idea of M. Post, "A call for clarity in reporting
BLEU scores", WMT 2018): metric, normaliser with its version, case, punctuation, and what is counted. A normaliser whose
output changes gets another version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from omnikit.errors import OmnikitError, unknown_name
from omnikit.metrics.normalise_chinese import ChineseNormaliser
from omnikit.metrics.normalise_english import WhisperEnglish, lower_without_punctuation
from omnikit.metrics.rates import Rate, edit_distance, ratio, words

Metric = Literal["wer", "cer"]


@dataclass(frozen=True)
class Normaliser:
    """How texts are made comparable: a function with a `version`, and what it does to case and punctuation."""

    name: str
    version: int
    case: str
    punctuation: str
    apply: Callable[[str], str]

    def __str__(self) -> str:
        return f"norm:{self.name}.{self.version},case:{self.case},punct:{self.punctuation}"


NORMALISERS = {
    normaliser.name: normaliser
    for normaliser in (
        Normaliser("none", 1, "mixed", "kept", str),
        Normaliser("words", 1, "lower", "parts", lambda text: " ".join(words(text))),
        Normaliser("cut", 1, "lower", "cut", lower_without_punctuation),
        Normaliser("whisper_english", 1, "lower", "parts", WhisperEnglish()),
        Normaliser("read_chinese", 1, "mixed", "cut", ChineseNormaliser()),
    )
}
"""Normalisers by name: none; plain English words; the published rule for spoken English questions; Whisper's English;
Chinese as it is read."""

_TOKENS: dict[Metric, tuple[str, Callable[[str], list[str]]]] = {
    "wer": ("spaces", str.split),
    "cer": ("characters", list),
}


@dataclass(frozen=True)
class TextErrors:
    """An error rate, the signature of how it was counted, and the `errors` and reference `lengths` of every text."""

    rate: Rate
    signature: str
    errors: tuple[int, ...]
    lengths: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.rate} {self.signature}"


def text_errors(
    references: Sequence[str], hypotheses: Sequence[str], metric: Metric, normaliser: Normaliser
) -> TextErrors:
    """Edits over reference length, summed over utterances, in words (`wer`) or characters (`cer`, spaces count).

    Nothing is left out: an empty hypothesis is all deletions, a long one all its insertions. Raises `OmnikitError` for
    lists of different lengths, `UnknownName` for another metric.
    """
    if metric not in _TOKENS:
        raise unknown_name("metric of texts", metric, _TOKENS)
    if len(references) != len(hypotheses):
        raise OmnikitError(
            f"{len(references)} reference texts and {len(hypotheses)} hypotheses: each reference needs its own.\n"
            "Give an empty text where a system said nothing; it counts as all words missed."
        )
    unit, split = _TOKENS[metric]
    rows = [[split(normaliser.apply(text)) for text in texts] for texts in (references, hypotheses)]
    errors = tuple(edit_distance(*pair) for pair in zip(*rows, strict=True))
    lengths = tuple(map(len, rows[0]))
    return TextErrors(ratio(errors, lengths), f"{metric}[{normaliser},tok:{unit}]", errors, lengths)
