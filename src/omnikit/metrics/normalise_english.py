"""English text in one of the ways that error rates are published in.

`WhisperEnglish` follows the rules of Whisper's normaliser (Radford et al. 2022, arXiv 2212.04356, appendix C), which
transformers implements; the British spellings that it levels are those of `american_spelling`, or a map of the user's.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from omnikit.metrics.american_spelling import american_spellings

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class WhisperEnglish:
    """Lower case, no punctuation, contractions written out, numbers in digits, American spelling.

    Args:
        spelling: American spelling of British words; of `american_spellings` unless given.

    >>> WhisperEnglish()("She'd painted twenty-one harbours.")
    'she had painted 21 harbors'
    """

    def __init__(self, spelling: Mapping[str, str] | None = None) -> None:
        self.spelling = american_spellings() if spelling is None else spelling

    def __call__(self, text: str) -> str:
        return self._rules(text)

    @cached_property
    def _rules(self) -> Any:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

        return EnglishTextNormalizer(dict(self.spelling))


def lower_without_punctuation(text: str) -> str:
    """Lower case, ASCII punctuation cut out: the published rule for spoken questions (`it's` becomes `its`)."""
    return text.lower().translate(_NO_PUNCTUATION)
