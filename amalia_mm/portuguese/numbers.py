"""Numbers in words, as a Portuguese person says them: dezasseis, vinte e uma, mil milhões, vigésima primeira.

A thin layer over num2words, whose `pt` is European (`pt_BR` is its Brazilian); it lacks gender, and a few of its
hundredths and of its `e` before a scale are mended here.
"""

from __future__ import annotations

import re
from functools import lru_cache

from num2words import num2words

_MILLIONS = ("milhão", "milhões", "bilião", "biliões", "trilião", "triliões")
_JOINED = re.compile(r"\bmil (cem|\w+[cz]?entos|quinhentos) (?=(?:mi|bi|tri)li|milh)")
_MENDED = {
    "quadrigentésimo": "quadringentésimo",
    "septigentésimo": "septingentésimo",
    "octigentésimo": "octingentésimo",
}
_LONGEST_DIGITS = 15


@lru_cache(maxsize=4096)
def cardinal(number: int, feminine: bool = False) -> str:
    """Return a whole number in words; `feminine` agrees with a feminine noun ("vinte e uma", "duzentas").

    What counts millions stays masculine: "dois milhões e duas". Negative numbers raise `ValueError`.
    """
    if number < 0:
        raise ValueError(f"only numbers from 0 up have a spoken form here: {number}")
    words = _JOINED.sub(r"mil e \1 ", str(num2words(number, lang="pt"))).split()
    if not feminine:
        return " ".join(words)
    masculine_until = max((i for i, word in enumerate(words) if word in _MILLIONS), default=-1)
    return " ".join(word if i <= masculine_until else _feminine(word) for i, word in enumerate(words))


def _feminine(word: str) -> str:
    if word.endswith("entos"):
        return f"{word[:-2]}as"
    return {"um": "uma", "dois": "duas", "quinhentos": "quinhentas"}.get(word, word)


@lru_cache(maxsize=1024)
def ordinal(number: int, feminine: bool = False, plural: bool = False) -> str:
    """Return which one in a row: "primeiro", "vigésima segunda", "primeiros"; from 1 to 1,999, else `ValueError`."""
    if not 1 <= number < 2000:
        raise ValueError(f"only 1 to 1,999 have an ordinal that is said: {number}")
    words = [_MENDED.get(word, word) for word in str(num2words(number, lang="pt", to="ordinal")).split()]
    ending = ("a" if feminine else "o") + ("s" if plural else "")
    return " ".join(word[:-1] + ending for word in words)


def decimal(digits: str) -> str:
    """Return what is said after "vírgula": "quarenta e sete" for 47, "zero oitenta e quatro" for 084.

    More than three digits are said one by one.
    """
    if len(digits) > 3:
        return one_by_one(digits)
    zeros = len(digits) - len(digits.lstrip("0"))
    rest = digits[zeros:]
    return " ".join(["zero"] * zeros + ([cardinal(int(rest))] if rest else []))


def one_by_one(digits: str) -> str:
    """Return digits said one after the other: "nove um dois"."""
    return " ".join(cardinal(int(digit)) for digit in digits)


def whole(digits: str, feminine: bool = False) -> str:
    """Return a row of digits as one number; one by one where it begins with a zero or is longer than a number."""
    if (digits.startswith("0") and digits != "0") or len(digits) > _LONGEST_DIGITS:
        return one_by_one(digits)
    return cardinal(int(digits), feminine)


_NUMBER = re.compile(r"(\d+|\d{1,3}(?:\.\d{3})+)(?:,(\d+))?([%€]?)")
_SIGN = {"%": "por cento", "€": "euros"}


def read_out(word: str) -> str:
    """Return how a word of the spoken form is said where it is a number in digits; any other word as it is.

    Whole numbers, thousands with points, decimals with a comma, per cent and euros: "12,5%" is "doze vírgula cinco
    por cento". A decimal that begins with zeros, and a number that begins with one, is read digit by digit.
    """
    number = _NUMBER.fullmatch(word)
    if number is None:
        return word
    decimals, sign = number[2], number[3]
    said = [whole(number[1].replace(".", ""))]
    if decimals:
        said += ["vírgula", whole(decimals)]
    return " ".join([*said, *([_SIGN[sign]] if sign else [])])
