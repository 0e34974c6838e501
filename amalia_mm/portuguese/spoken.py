"""Numbers and clock times as a Portuguese person says them: dezasseis, vinte e uma, nove menos um quarto.

A thin layer over num2words, whose `pt` is European (`pt_BR` is its Brazilian); it lacks gender and the clock.
"""

from __future__ import annotations

import re

from num2words import num2words

_MILLIONS = ("milhão", "milhões", "bilião", "biliões", "trilião", "triliões")
_QUARTER_MINUTES = {15: "um quarto", 30: "meia"}


def cardinal(number: int, feminine: bool = False) -> str:
    """Return a whole number in words; `feminine` agrees with a feminine noun ("vinte e uma", "duzentas").

    What counts millions stays masculine: "dois milhões e duas". Negative numbers raise `ValueError`.
    """
    if number < 0:
        raise ValueError(f"only numbers from 0 up have a spoken form here: {number}")
    spoken = str(num2words(number, lang="pt")).split()
    if not feminine:
        return " ".join(spoken)
    masculine_until = max((i for i, word in enumerate(spoken) if word in _MILLIONS), default=-1)
    return " ".join(word if i <= masculine_until else _feminine(word) for i, word in enumerate(spoken))


def _feminine(word: str) -> str:
    if word.endswith("entos"):
        return f"{word[:-2]}as"
    return {"um": "uma", "dois": "duas", "quinhentos": "quinhentas"}.get(word, word)


def clock(hour: int, minute: int = 0) -> str:
    """Return a clock time without its article: "oito e meia", "nove menos um quarto", "meio-dia".

    Hours run from 0 to 23 and are said on the twelve-hour dial; after the half hour one counts back from the
    next hour. Values outside raise `ValueError`.
    """
    if not (0 <= hour < 24 and 0 <= minute < 60):
        raise ValueError(f"no clock shows {hour}:{minute}")
    if minute > 30:
        return f"{_hour(hour + 1)} menos {_minutes(60 - minute)}"
    return f"{_hour(hour)} e {_minutes(minute)}" if minute else _hour(hour)


def at_clock(hour: int, minute: int = 0) -> str:
    """Return when something happens: "às oito e meia", "à uma", "ao meio-dia"."""
    return f"{_article(hour, minute, 'à', 'às', 'ao')} {clock(hour, minute)}"


def from_clock(hour: int, minute: int = 0) -> str:
    """Return since when, or which train: "das oito e meia", "da uma", "do meio-dia"."""
    return f"{_article(hour, minute, 'da', 'das', 'do')} {clock(hour, minute)}"


def it_is_clock(hour: int, minute: int = 0) -> str:
    """Return what time it is: "são oito e meia", "é uma", "é meio-dia"."""
    return f"{_article(hour, minute, 'é', 'são', 'é')} {clock(hour, minute)}"


def _hour(hour: int) -> str:
    if hour in (0, 24):
        return "meia-noite"
    return "meio-dia" if hour == 12 else cardinal(hour % 12, feminine=True)


def _minutes(minute: int) -> str:
    return _QUARTER_MINUTES.get(minute) or cardinal(minute)


def _article(hour: int, minute: int, one: str, many: str, noon: str) -> str:
    head = clock(hour, minute).split()[0]
    if head == "meio-dia":
        return noon
    return one if head in ("uma", "meia-noite") else many


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
    whole, decimals, sign = number[1].replace(".", ""), number[2], number[3]
    said = [_digits(whole)]
    if decimals:
        said += ["vírgula", _digits(decimals)]
    return " ".join([*said, *([_SIGN[sign]] if sign else [])])


def _digits(digits: str) -> str:
    if digits.startswith("0") or len(digits) > 15:
        return " ".join(cardinal(int(digit)) for digit in digits)
    return cardinal(int(digits))
