"""Numbers in Chinese characters: digits to a reading, digit by digit, and a reading back to digits.

A numeral is head × unit + rest, with the largest unit that fits: 123456 = (12) 万 (3456). A gap is read once as 零.
"""

from __future__ import annotations

from dataclasses import dataclass

from omnikit.errors import OmnikitError


@dataclass(frozen=True)
class Numerals:
    """One way to write numbers: the ten digits, the units 10 … 10⁸, the decimal point, and 2 before a unit."""

    digits: str
    units: str
    point: str
    two: str

    @property
    def powers(self) -> dict[int, str]:
        """Units by their power of ten, the largest first."""
        return dict(reversed(list(zip(_POWERS, self.units, strict=True))))


_POWERS = (1, 2, 3, 4, 8)
PLAIN = Numerals("零一二三四五六七八九", "十百千万亿", "点", "两")
FINANCIAL = Numerals("零壹贰叁肆伍陆柒捌玖", "拾佰仟萬亿", "点", "贰")
TRADITIONAL = Numerals("零一二三四五六七八九", "拾佰仟萬億", "點", "兩")
_VALUES = {
    symbol: value for system in (PLAIN, FINANCIAL, TRADITIONAL) for value, symbol in enumerate(system.digits)
} | {"两": 2, "兩": 2, "〇": 0}
_POWER_OF = {
    symbol: power
    for system in (PLAIN, FINANCIAL, TRADITIONAL)
    for power, symbol in zip(_POWERS, system.units, strict=True)
}
_POINTS = "点點"


def spell_number(number: str, numerals: Numerals = PLAIN) -> str:
    """A number as it is read: `"1050.5"` → 一千零五十点五.

    A lone zero is read, several are not, and full-width zeros in front count as digits: both as in the published
    Chinese evaluation, with whose numbers ours are compared. Raises `OmnikitError` for anything but digits with at most
    one point between or beside them.
    """
    whole, fraction = _split(number)
    symbols = [numerals.digits[0]] if whole in ("", "0") else _read(whole, numerals)
    if symbols[:2] == [numerals.digits[1], numerals.units[0]]:
        symbols = symbols[1:]  # 十二, not 一十二, where nothing stands before
    return "".join(_with_two(symbols, numerals)) + _spell_fraction(fraction, numerals)


def spell_digits(number: str, numerals: Numerals = PLAIN) -> str:
    """A number digit by digit: `"1050"` → 一零五零. Raises `OmnikitError` as `spell_number` does."""
    whole, fraction = _split(number)
    return "".join(numerals.digits[int(digit)] for digit in whole or "0") + _spell_fraction(fraction, numerals)


def parse_number(reading: str) -> str:
    """The digits of a reading, in any of the ways to write it: 一千零五十点五 → `"1050.5"`.

    Raises `OmnikitError` for other characters, and for a reading without any.
    """
    whole, point, fraction = reading.translate(str.maketrans(_POINTS, "." * len(_POINTS))).partition(".")
    strange = [symbol for symbol in whole + fraction if symbol not in _VALUES and symbol not in _POWER_OF]
    if strange or not whole or (point and (not fraction or any(symbol in _POWER_OF for symbol in fraction))):
        raise OmnikitError(f"{reading!r} is no number in Chinese characters; 一千零五十点五 is one.")
    digits = "".join(str(_VALUES[symbol]) for symbol in fraction)
    return f"{_value(whole)}.{digits}" if point else str(_value(whole))


def _split(number: str) -> tuple[str, str]:
    whole, _, fraction = number.partition(".")
    if not (whole + fraction).isdecimal():
        raise OmnikitError(f"{number!r} is no number; digits with at most one point are, such as 1050.5")
    return whole, fraction


def _spell_fraction(fraction: str, numerals: Numerals) -> str:
    return numerals.point + "".join(numerals.digits[int(digit)] for digit in fraction) if fraction else ""


def _read(digits: str, numerals: Numerals) -> list[str]:
    """Symbols of a whole number; zeros in front become one 零, nothing is said where all are zeros."""
    significant = digits.lstrip("0")
    if not significant:
        return []
    gap = [numerals.digits[0]] if len(significant) < len(digits) else []
    if len(significant) == 1:
        return [*gap, numerals.digits[int(significant)]]
    power, unit = next((power, unit) for power, unit in numerals.powers.items() if power < len(significant))
    head, rest = significant[:-power], significant[-power:]
    return [*gap, *_read(head, numerals), unit, *_read(rest, numerals)]


def _with_two(symbols: list[str], numerals: Numerals) -> list[str]:
    """2 is 两 between units other than ten: before one, and after one or after nothing."""
    large = numerals.units[1:]
    read = list(symbols)
    for place, symbol in enumerate(symbols[:-1]):
        starts = place == 0 or symbols[place - 1] in large
        if symbol == numerals.digits[2] and symbols[place + 1] in large and starts:
            read[place] = numerals.two
    return read


def _value(symbols: str) -> int:
    """The value of a whole number: what stands before its largest unit is multiplied by it."""
    place = max(range(len(symbols)), key=lambda index: (_POWER_OF.get(symbols[index], 0), index))
    power = _POWER_OF.get(symbols[place], 0)
    if power == 0:
        return int("".join(str(_VALUES[symbol]) for symbol in symbols)) if symbols else 0
    head, rest = symbols[:place], symbols[place + 1 :]
    return (_value(head) if head else 1) * 10**power + (_value(rest) if rest else 0)
