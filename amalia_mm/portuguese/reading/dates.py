"""Dates in digits: 12/03/2024 and 2024-03-12 "doze de março de dois mil e vinte e quatro"; weekdays by number.

The day comes first, as in Portugal; the first of a month is "um". What no calendar has is not a date.
"""

from __future__ import annotations

import datetime
import re

from amalia_mm.portuguese.numbers import cardinal
from amalia_mm.portuguese.reading.fractions import is_blood_pressure
from amalia_mm.portuguese.reading.rules import Rule, left_of, right_of, words_before

MONTHS = (
    *("janeiro", "fevereiro", "março", "abril", "maio", "junho"),
    *("julho", "agosto", "setembro", "outubro", "novembro", "dezembro"),
)
_WEEKDAYS = {"2": "segunda", "3": "terça", "4": "quarta", "5": "quinta", "6": "sexta"}
_LEAP_YEAR = 2000


def date(day: int, month: int, year: int | None = None) -> str | None:
    """Return a date in words, or None where no calendar has it; a year below 100 is said in its two digits."""
    try:
        datetime.date(year if year is not None and 100 <= year <= 9999 else _LEAP_YEAR, month, day)
    except ValueError:
        return None
    said = f"{cardinal(day)} de {MONTHS[month - 1]}"
    return said if year is None else f"{said} de {cardinal(year)}"


def _say_date(found: re.Match[str]) -> str | None:
    said = date(int(found["day"]), int(found["month"]), int(found["year"]))
    return f"{said}," if said and found.groupdict().get("time") else said


def _say_day(found: re.Match[str]) -> str | None:
    """Return a date without a year; only after a word that asks for one, since 1/2 is a half."""
    before = words_before(found, 1)
    if not before or before[0] not in ("dia", "dias", "em", "até", "desde", "data", "de"):
        return None
    if before[0] == "de" and int(found["day"]) < int(found["month"]):
        return None  # "mais de 1/3"
    if before[0] in ("de", "em") and is_blood_pressure(found, int(found["day"]), int(found["month"])):
        return None
    return date(int(found["day"]), int(found["month"]))


def _say_weekday(found: re.Match[str]) -> str | None:
    many = "s" if found["many"] else ""
    if found["feira"]:
        return f"{_WEEKDAYS[found['day']]}{many}-feira{many}"
    if found["raised"] == "a":
        return f"{_WEEKDAYS[found['day']]}s" if many else None
    another = r"\s?(?:a|e|,|ou|à)\s(?:[2-6]\s?\.?ª|s[áa]b\.|dom\.|sábado|domingo)(?!\w)"
    if re.match(rf"{another}\s?(?:[,.;)]|das|às|$|e\s)", right_of(found)):
        return _WEEKDAYS[found["day"]]
    before = re.search(r"[2-6]\s?\.?ª\s?(?:a|e|,|ou|à)\s$", left_of(found))
    return (
        _WEEKDAYS[found["day"]]
        if before and re.match(r"\s?(?:[,.;)]|das|às|$|e\s)", right_of(found))
        else None
    )


def _say_every(found: re.Match[str]) -> str:
    """Return how often a medicine is taken: 8/8 h."""
    hours = cardinal(int(found["every"]), feminine=True)
    return f"{hours} em {hours} hora{'s' if found['every'] != '1' else ''}"


_MONTH_NAMES = {month[:3]: month for month in MONTHS}
_DAY_NAMES = {
    "seg": "segunda", "ter": "terça", "qua": "quarta", "qui": "quinta", "sex": "sexta",
    "sáb": "sábado", "sab": "sábado", "dom": "domingo",
}  # fmt: skip


def _say_named_month(found: re.Match[str]) -> str | None:
    """Return the date of 25 abr and 1 Jan 2024; None where what looks like a month may be a word: 3 mar, 5 set."""
    day, month = int(found["day"]), _MONTH_NAMES[found["name"].lower()]
    said = date(day, MONTHS.index(month) + 1, int(found["year"]) if found["year"] else None)
    ends = found["year"] or re.match(r"\s*(?:$|[,;.:)])", right_of(found)) is not None
    return said if ends else None


def _say_days(found: re.Match[str]) -> str:
    """Return "segunda a sexta" for seg. a sex. and Seg-Sex."""
    first, last = (_DAY_NAMES[found[name].lower()] for name in ("first", "last"))
    joint = found["joint"].strip()
    return f"{first} {'a' if joint in '-–' else joint} {last}"


_YEAR = r"(?P<year>\d{4}|\d\d)"
_DAY, _MONTH = r"(?P<day>0?[1-9]|[12]\d|3[01])", r"(?P<month>0?[1-9]|1[0-2])"
RULES = (
    Rule(re.compile(r"(?P<every>[1-9]|1\d|2[0-4])/(?P=every)\s?h(?:oras)?(?!\w)"), _say_every),
    Rule(
        re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?:(?P<time>T)(?=\d\d:)|(?!\d|-\d))"),
        _say_date,
    ),
    Rule(
        re.compile(rf"{_DAY}\s?(?P<mark>[/.-])\s?{_MONTH}\s?(?P=mark)\s?{_YEAR}(?!\d|[/.-]\d)"),
        _say_date,
    ),
    Rule(re.compile(rf"{_DAY}/{_MONTH}(?!\d|[/-]\d|\s?%)"), _say_day),
    Rule(
        re.compile(
            r"(?P<day>[2-6])(?:\s?\.?(?P<sign>ª)|(?P<raised>a))(?P<many>s)?(?P<feira>[ -]?f(?:eiras?)?\b)?(?![^\W_])"
        ),
        _say_weekday,
    ),
    Rule(
        re.compile(
            rf"(?P<day>[12]\d|3[01]|[1-9]) (?P<name>(?i:{'|'.join(_MONTH_NAMES)}))(?!\w)"
            r"\.?(?: (?P<year>\d{4})(?!\d))?"
        ),
        _say_named_month,
    ),
)
"""How dates are read."""

WEEK = Rule(
    re.compile(
        rf"(?P<first>(?i:{'|'.join(_DAY_NAMES)}))\.?(?P<joint> (?:a|à|e) |\s?[-–]\s?)"
        rf"(?P<last>(?i:{'|'.join(_DAY_NAMES)}))(?!\w)(?:\.(?!\s*$))?"
    ),
    _say_days,
)
"""How days of the week, shortened, are read."""
