"""Closed phone inventories: 42 stress-free symbols of American English, with how espeak-ng's mnemonics map onto them;
and the 240 phones of English and Mandarin that the published EMOVA tokenizer was trained with.

The names of the 42 are those of the ARPABET in lower case, plus `ax` (schwa), `dx` (the flap of "water") and `q`
(glottal stop). Stress, length marks and pauses are dropped. A vowel with r ("star") counts as vowel + `r`, a syllabic
l as `ax` + `l`, a syllabic n as `n`; where one espeak mnemonic gives two phones, its time is halved between them.
"""

from __future__ import annotations

from omnikit.errors import DataError

_SYMBOLS = """
aa ae ah ao aw ax ay b ch d dh dx eh er ey f g hh ih iy jh k l m n ng ow oy p q r s sh t th uh uw v w y z zh
"""
PHONES: tuple[str, ...] = tuple(_SYMBOLS.split())
PHONE_INDEX: dict[str, int] = {phone: index for index, phone in enumerate(PHONES)}

_TABLE = """
p:p b:b t:t d:d k:k g:g tS:ch dZ:jh f:f v:v T:th D:dh s:s z:z S:sh Z:zh h:hh x:k ?:q
m:m n:n N:ng l:l r:r w:w j:y t#:dx
a:ae aa:ae E:eh e:eh I:ih i:iy 0:aa A:aa O:ao V:ah U:uh u:uw @:ax a#:ax 3:er
aI:ay aU:aw eI:ey OI:oy oU:ow
A@:aa+r O@:ao+r o@:ao+r e@:eh+r i@:iy+ax i@3:ih+r U@:uh+r aI@:ay+ax aI3:ay+er aU@:aw+ax @L:ax+l
"""
_PHONES_OF: dict[str, tuple[str, ...]] = {
    mnemonic: tuple(phones.split("+")) for mnemonic, phones in (entry.rsplit(":", 1) for entry in _TABLE.split())
}
_MARKS = "',%=|;*_!^~`"
_VARIANT_ENDINGS = ":#-2345^;"


def phones_of(mnemonic: str) -> tuple[str, ...]:
    """The phones of one espeak-ng mnemonic such as `'A@` or `t#`; empty for pauses and bare marks.

    Raises DataError for a mnemonic that American English does not have.
    """
    name = mnemonic.lstrip(_MARKS)
    original = name
    while name:
        if name in _PHONES_OF:
            return _PHONES_OF[name]
        if name[-1] not in _VARIANT_ENDINGS:
            raise DataError(
                f"The espeak-ng phoneme '{original}' is not part of American English.\nUse English text only."
            )
        name = name[:-1]
    return ()


_ARPABET = """
AA012 AE012 AH012 AO012 AW012 AY012 B CH D DH EH012 ER012 EY012 F G HH IH012 IY012 JH K L M N NG OW012 OY012 P R S SH T
TH UH012 UW012 V W Y Z ZH
"""
_PINYIN_CONSONANTS = "b c ch d f g h j k l m n p q r rr s sh t x z zh"
_PINYIN_FOUR_TONES = """
ai an ang ao ei eng i ia ian iang iao ie iii in ing iong iou o ong ou u ua uai uan uang ui un v van ve vn
"""
_PINYIN_FIVE_TONES = "a e en ii uo"


def emova_phones() -> tuple[str, ...]:
    """The classes of the published tokenizer in their order: 69 of English, then 171 of Mandarin.

    English is ARPABET with the stress digits 0 to 2 on vowels (`en_AA1`); Mandarin is pinyin initials and finals in the
    order of text, finals with their tones (`CN_ang3`; 5 is the neutral one, `ii`, `iii` the vowels of "zi" and "zhi").
    Ref: Chen et al., "EMOVA", CVPR 2025 (speech tokenizer; the list comes from its released configuration).
    """
    english = []
    for entry in _ARPABET.split():
        name = entry.rstrip("012")
        english += [f"en_{name}{stress}" for stress in entry[len(name) :]] or [f"en_{name}"]
    mandarin = _PINYIN_CONSONANTS.split()
    mandarin += [f"{final}{tone}" for final in _PINYIN_FOUR_TONES.split() for tone in "1234"]
    mandarin += [f"{final}{tone}" for final in _PINYIN_FIVE_TONES.split() for tone in "12345"]
    return (*english, *(f"CN_{name}" for name in sorted(mandarin)))
