"""Language packs: text → phones by espeak-ng in any language, and the closed sets that the phones come from."""

from __future__ import annotations

import pytest

from omnikit.data.espeak import Espeak
from omnikit.data.lexicon import language_pack
from omnikit.data.phone_tables import phone_table
from omnikit.data.phones import PHONES, emova_phones
from omnikit.errors import DataError, UnknownName

SENTENCE = "the red star is big, what do you hear in the water?"


def test_the_published_phones_are_240_in_their_order() -> None:
    phones = emova_phones()
    assert len(phones) == len(set(phones)) == 240
    english, mandarin = phones[:69], phones[69:]
    assert all(name.startswith("en_") for name in english) and all(name.startswith("CN_") for name in mandarin)
    assert list(english) == sorted(english) and list(mandarin) == sorted(mandarin)
    assert english[:4] == ("en_AA0", "en_AA1", "en_AA2", "en_AE0") and english[-1] == "en_ZH"
    assert mandarin[:6] == ("CN_a1", "CN_a2", "CN_a3", "CN_a4", "CN_a5", "CN_ai1")
    assert mandarin[-3:] == ("CN_x", "CN_z", "CN_zh")
    assert {"CN_ii5", "CN_iii4", "CN_rr", "CN_uo5", "CN_vn4"} <= set(mandarin)
    assert not {"CN_iii5", "CN_ai5", "CN_er2"} & set(mandarin)


def test_english_of_a_pack_is_what_the_corpus_maker_says(espeak: Espeak) -> None:
    pack = language_pack("en_us")
    assert pack.phones == PHONES
    spoken, written = espeak.phonemise("the red circle"), pack.phonemise("the red circle")
    assert written == spoken
    assert pack.targets(written) == [PHONES.index(phone) for phone in spoken]
    assert pack.phonemise("...") == ()


def test_published_phones_spell_english_with_stress() -> None:
    pack = language_pack("emova")
    phones = pack.phonemise("the big oil water")
    assert phones == tuple(f"en_{name}" for name in ("DH", "AH0", "B", "IH1", "G", "OY1", "L", "W", "AO1", "T", "ER0"))
    assert max(pack.targets(pack.phonemise(SENTENCE))) < 69


def test_german_phones_are_of_the_german_table() -> None:
    pack = language_pack("de")
    phones = pack.phonemise("Guten Morgen, die schönen Straßen sind früh.")
    assert phones[:5] == ("g", "u:", "t", "@", "n")
    assert {"Y:", "y:", "S"} <= set(phones)
    assert [pack.phones[target] for target in pack.targets(phones)] == list(phones)
    assert pack.index["y:"] == phone_table("de").phones.index("y:")


def test_mandarin_tones_follow_their_vowels() -> None:
    pack = language_pack("cmn")
    phones = pack.phonemise("你好")
    assert phones == ("n", "i", "214", "X", "Au", "214")
    assert len(pack.targets(phones)) == 6


def test_length_is_a_phone_of_its_own_where_the_table_has_no_long_one() -> None:
    pack = language_pack("fi")
    short, long = pack.phonemise("tuli"), pack.phonemise("tuuli")
    assert [phone for phone in long if phone != ":"] == list(short) and long.count(":") == 1


def test_reading_another_language_leaves_english_sound_as_it_was(espeak: Espeak) -> None:
    before = espeak.synthesise(SENTENCE).wave.tobytes()
    language_pack("fr").phonemise("Bonjour tout le monde")
    assert espeak.synthesise(SENTENCE).wave.tobytes() == before


def test_a_table_extends_another() -> None:
    german = phone_table("de")
    assert {"pF", "y:"} <= set(german.phones), "its own"
    assert {"m", "p"} <= set(german.phones), "those of the table below"
    assert german.suffixes == (":",)
    assert not {"'", "_:", "%"} & set(german.phones), "marks and pauses are no phones"


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(UnknownName, match="language pack 'xx'"):
        language_pack("xx")
    with pytest.raises(UnknownName, match="espeak-ng language"):
        Espeak().transcribe("text", "xx")
    with pytest.raises(UnknownName, match="'qq'"):
        language_pack("de").targets(["qq"])
    with pytest.raises(DataError, match="American English"):
        language_pack("en_us").spell("Y:")
    with pytest.raises(DataError, match="no phone of the language 'de'"):
        language_pack("de").spell("T#")
