"""Chinese text as it is read aloud: numbers as characters, no punctuation. For error rates over characters.

The order of the rules is that of the published evaluation (EMOVA, arXiv 2409.18042, after the TextNorm of SpeechIO),
whose results this gives, quirks included: a minus sign is dropped, 1024 is read digit by digit.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from omnikit.metrics.chinese_numbers import spell_digits, spell_number

_NUMBER = r"\d+(?:\.\d+)?"
_MONTH = r"\d{1,2}月(?:\d{1,2}[日号])?"
_DATE = re.compile(rf"(?<!\d)(?:(?:[089]\d|(?:19|20)\d{{2}})年(?:{_MONTH})?|{_MONTH})")
_SCALE = "亿|千万|百万|万|千|百"
_COINS = "元|块|角|毛|分"
_MONEY = re.compile(
    rf"(?<!\d){_NUMBER}[多余几]?(?:(?:{_SCALE})?(?:元|块)|{_SCALE}|角|毛|分)(?:\d(?:{_SCALE}|{_COINS})?)?"
)
_MOBILE = re.compile(r"(?<!\d)(?:\+?86 ?)?1(?:[38]\d|5[0-35-9]|7[678]|9[89])\d{8}(?!\d)")
_LANDLINE = re.compile(r"(?<!\d)(?:0(?:10|2[1-3]|[3-9]\d{2})-?)?[1-9]\d{6,7}(?!\d)")
_FRACTION = re.compile(r"(\d+)/(\d+)")
_PERCENT = re.compile(rf"({_NUMBER})[%％]")
_MEASURES = (
    "匹张座回场尾条个首阙阵网炮顶丘棵只支袭辆挑担颗壳窠曲墙群腔砣客贯扎捆刀令打手罗坡山岭江溪钟队单双对出口头脚板跳枝件贴针"
    "线管名位身堂课本页家户层丝毫厘分钱两斤铢石钧锱忽寸尺丈里寻常铺程撮勺合升斗盘碗碟叠桶笼盆盒杯斛锅簋篮罐瓶壶卮盏箩箱煲啖"
    "袋钵年月日季刻时周天秒旬纪岁世更夜春夏秋冬代伏辈丸泡粒幢堆根道面片块"
)
_MEASURED = re.compile(rf"{_NUMBER}[多余几]?(?:[千毫微]克|[千分厘毫微]?米|[{_MEASURES}])")
_LONG = re.compile(r"\d{4,32}")
_ANY = re.compile(_NUMBER)
_LATIN_TWO = re.compile(r"([a-zA-Z]+)二([a-zA-Z]+)")
_PUNCTUATION = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃《》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿"
    "–—‘’‛“”„‟…‧﹏·〈〉" + string.punctuation
)
_BLANK_PUNCTUATION = str.maketrans(dict.fromkeys(_PUNCTUATION, " "))
_HALF_WIDTH = str.maketrans({0xFEE0 + code: chr(code) for code in range(0x21, 0x7F)} | {0x3000: " "})
_FILLERS = str.maketrans("", "", "呃啊")
_KEEPS_ER = (
    "儿女|儿子|孙儿|女儿|儿媳|妻儿|胎儿|婴儿|新生儿|婴幼儿|幼儿|少儿|小儿|儿歌|儿童|儿科|托儿所|孤儿|儿戏|儿化|台儿庄|正儿八经|"
    "吊儿郎当|生儿育女|养儿防老"
)
_ER = re.compile(rf"({_KEEPS_ER})|儿")
_LATIN = frozenset(string.ascii_letters + string.digits)
Case = Literal["keep", "lower", "upper"]


@dataclass(frozen=True)
class ChineseNormaliser:
    """Text → text as it is read; the defaults are the setting of the published evaluation.

    Args:
        half_width: full-width letters and digits become plain ones first.
        case: of Latin letters.
        drop_fillers: the hesitations 呃 and 啊 go.
        drop_erhua: the suffix 儿 goes, except in words that need it (女儿, 儿童 …).
        drop_spaces: spaces go, except between two Latin letters or digits.

    >>> ChineseNormaliser()("完成了85%，共3.5元。")
    '完成了百分之八十五共三点五元'
    """

    half_width: bool = False
    case: Case = "keep"
    drop_fillers: bool = False
    drop_erhua: bool = False
    drop_spaces: bool = True

    def __call__(self, text: str) -> str:
        text = text.translate(_HALF_WIDTH) if self.half_width else text
        text = text if self.case == "keep" else text.lower() if self.case == "lower" else text.upper()
        text = text.translate(_FILLERS) if self.drop_fillers else text
        text = _ER.sub(lambda found: found[1] or "", text) if self.drop_erhua else text
        text = read_numbers(text).translate(_BLANK_PUNCTUATION)
        return _without_spaces(text) if self.drop_spaces else text


def read_numbers(text: str) -> str:
    """Every number of a text in characters: dates, money, telephones, fractions, percent, measures, then the rest."""
    for pattern, reading in _READINGS:
        text = pattern.sub(reading, text)
    return text


def _read_date(found: re.Match[str]) -> str:
    year, mark, rest = found[0].rpartition("年")
    return spell_digits(year) + mark + _read_each(rest) if mark else _read_each(rest)


def _read_each(text: str) -> str:
    return _ANY.sub(lambda found: spell_number(found[0]), text)


def _read_telephone(found: re.Match[str]) -> str:
    return "".join(spell_digits(character) for character in found[0] if character.isdecimal())


_READINGS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_DATE, _read_date),
    (_MONEY, lambda found: _read_each(found[0])),
    (_MOBILE, _read_telephone),
    (_LANDLINE, _read_telephone),
    (_FRACTION, lambda found: f"{spell_number(found[2])}分之{spell_number(found[1])}"),
    (_PERCENT, lambda found: f"百分之{spell_number(found[1])}"),
    (_MEASURED, lambda found: _read_each(found[0])),
    (_LONG, lambda found: spell_digits(found[0])),
    (_ANY, lambda found: spell_number(found[0])),
    (_LATIN_TWO, lambda found: f"{found[1]}2{found[2]}"),  # P2P, B2C
)


def _without_spaces(text: str) -> str:
    parts = text.split()
    joined = parts[:1]
    for before, after in pairwise(parts):
        joined += [" ", after] if before[-1] in _LATIN and after[0] in _LATIN else [after]
    return "".join(joined)
