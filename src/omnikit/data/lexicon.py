"""From text to the phones that a tokenizer learns, in any language: a language pack is a voice, a phone set and a map.

Ready packs: `en_us` (the 42 phones of the corpus maker) and `emova` (the 240 of the published tokenizer; English text
is spelt with its ARPABET, Mandarin labels come with the data). Any other language of espeak-ng is a pack by its name
(`de`, `fr`, `cmn`): its phones are espeak-ng's own; length and tone are phones that follow the one that has them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType

from omnikit.data.espeak import Espeak, languages
from omnikit.data.phone_tables import phone_table
from omnikit.data.phones import PHONES, emova_phones, phones_of
from omnikit.errors import DataError, unknown_name

_STRESS_MARKS = {"'": 1, ",": 2}
_MARKS = "',%=|*!"
_SHORT = "-"


@dataclass(frozen=True)
class LanguagePack:
    """`phones` in the order of their class indices, the espeak-ng `language` that reads text aloud, and `spell`, which
    gives the phones of one mnemonic.
    """

    name: str
    language: str
    phones: tuple[str, ...]
    spell: Callable[[str], tuple[str, ...]]

    @functools.cached_property
    def index(self) -> MappingProxyType[str, int]:
        """Class index of every phone."""
        return MappingProxyType({phone: place for place, phone in enumerate(self.phones)})

    def phonemise(self, text: str) -> tuple[str, ...]:
        """The phones of `text`; empty where there is nothing to say. Raises DataError for foreign sounds."""
        return tuple(
            phone
            for word in Espeak().transcribe(text, self.language)
            for mnemonic in word
            for phone in self.spell(mnemonic)
        )

    def targets(self, phones: Iterable[str]) -> list[int]:
        """Class indices of phones, e.g. those of a record. Raises UnknownName for one that the pack does not have."""
        phones = list(phones)
        for phone in phones:
            if phone not in self.index:
                raise unknown_name(
                    "phone",
                    phone,
                    self.phones[:60],
                    f"The {len(self.phones)} phones are those of the language pack '{self.name}'.",
                )
        return [self.index[phone] for phone in phones]


def language_pack(name: str) -> LanguagePack:
    """A pack by name. Raises UnknownName for one that neither omnikit nor espeak-ng knows."""
    if name == "en_us":
        return LanguagePack(name, "en-us", PHONES, phones_of)
    if name == "emova":
        return LanguagePack(name, "en-us", emova_phones(), _arpabet)
    if name not in languages():
        raise unknown_name("language pack", name, ["en_us", "emova", *languages()])
    table = phone_table(name)
    spell = functools.partial(_own, language=name, phones=frozenset(table.phones), suffixes=table.suffixes)
    return LanguagePack(name, name, (*table.phones, *table.suffixes), spell)


def _arpabet(mnemonic: str) -> tuple[str, ...]:
    """ARPABET with stress on vowels, for a mnemonic of American English: `'aI` → `en_AY1`."""
    stress = _STRESS_MARKS.get(mnemonic[:1], 0)
    known = set(emova_phones())
    spelt = []
    for phone in phones_of(mnemonic):
        name = _MERGED.get(phone, phone.upper())
        if name:
            spelt.append(f"en_{name}" if f"en_{name}" in known else f"en_{name}{stress}")
    return tuple(spelt)


_MERGED = {"ax": "AH", "dx": "T", "q": ""}
"""Phones of the corpus maker that ARPABET dictionaries do not tell apart; a glottal stop is not written there."""


def _own(mnemonic: str, language: str, phones: frozenset[str], suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """espeak-ng's own phones: the mnemonic without stress marks; what follows it, length and tone, as phones."""
    name = rest = mnemonic.lstrip(_MARKS)
    if not name or name.startswith("_"):
        return ()
    ends: list[str] = []
    while rest and rest not in phones:
        if rest.endswith(_SHORT):
            rest = rest.removesuffix(_SHORT)
            continue
        end = max((suffix for suffix in suffixes if rest.endswith(suffix)), key=len, default=None)
        if end is None:
            raise DataError(
                f"espeak-ng reads a part of the text as '{name}', which is no phone of the language '{language}'.\n"
                "Spell foreign words and signs in that language's own writing."
            )
        rest, ends = rest.removesuffix(end), [end, *ends]
    return (rest, *ends) if rest else tuple(ends)
