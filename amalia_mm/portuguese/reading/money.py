"""Sums of money: 12,50 € "doze euros e cinquenta cêntimos", 0,99 €, $ 5, £2, 3 M€, 22$000 réis."""

from __future__ import annotations

import re

from amalia_mm.portuguese.numbers import cardinal
from amalia_mm.portuguese.reading.gender import is_feminine
from amalia_mm.portuguese.reading.quantities import NUMBER, in_words, is_one, split_number
from amalia_mm.portuguese.reading.rules import LETTER, Rule, right_of
from amalia_mm.portuguese.reading.units import UNIT, UNITS, of_unit

_CURRENCIES = {
    "€": ("euro", "euros", "cêntimo"),
    "EUR": ("euro", "euros", "cêntimo"),
    "$": ("dólar", "dólares", "cêntimo"),
    "US$": ("dólar", "dólares", "cêntimo"),
    "USD": ("dólar", "dólares", "cêntimo"),
    "R$": ("real", "reais", "centavo"),
    "BRL": ("real", "reais", "centavo"),
    "£": ("libra", "libras", "péni"),
    "GBP": ("libra", "libras", "péni"),
    "¥": ("iene", "ienes", ""),
    "CHF": ("franco suíço", "francos suíços", "cêntimo"),
}
_MANY_PARTS = {"péni": "pence"}
_SIGN = "|".join(re.escape(sign) for sign in sorted(_CURRENCIES, key=len, reverse=True))
_SCALES = {"k": 1_000, "K": 1_000, "M": 1_000_000}
_SCALE = r"(?P<scale>mil milh(?:ão|ões)|milh(?:ão|ões)|bili(?:ão|ões)|mil)"


def amount(written: str, sign: str) -> str:
    """Return a sum in words: two decimals are its hundredths, other decimals stay decimals."""
    one, many, part = _CURRENCIES[sign]
    number, _, decimals = split_number(written)
    feminine = is_feminine(one)
    if decimals and (len(decimals) > 2 or not part):
        return f"{in_words(written, feminine)} {many}"
    said = []
    if int(number) or not int(decimals or 0):
        joint = " de" if len(number) > 6 and not int(number[-6:]) else ""
        said.append(f"{in_words(number, feminine)}{joint} {one if is_one(number) else many}")
    if int(decimals or 0):
        parts = int(decimals.ljust(2, "0"))
        said.append(f"{cardinal(parts)} {part if parts == 1 else _MANY_PARTS.get(part, f'{part}s')}")
    return " e ".join(said)


def _per(found: re.Match[str]) -> str:
    per = found["per"]
    if not per:
        return ""
    return f" por {of_unit(per, one=True)[0] if per in UNITS else per}"


def _say_sum(found: re.Match[str]) -> str | None:
    number, sign = found["number"], found["sign"]
    if found["scale"] == "mil" and found["letter"] == "M":
        return f"{in_words(number)} mil milhões de {_CURRENCIES[sign][1]}{_per(found)}"
    if found["scale"]:
        return f"{in_words(number)} {found['scale']} {'' if found['scale'] == 'mil' else 'de '}{_CURRENCIES[sign][1]}"
    if found["letter"]:
        digits, _, decimals = split_number(number)
        whole = round(float(f"{digits}.{decimals or 0}") * _SCALES[found["letter"]])
        return amount(str(whole), sign) + _per(found)
    low = found.groupdict().get("low")
    if low:
        feminine = is_feminine(_CURRENCIES[sign][0])
        return f"{in_words(low, feminine)} a {in_words(number, feminine)} {_CURRENCIES[sign][1]}{_per(found)}"
    return amount(number, sign) + _per(found)


def _say_split(found: re.Match[str]) -> str:
    return amount(f"{found['euros']},{found['cents']}", "€")


def _say_reis(found: re.Match[str]) -> str:
    """Return the old money: thousands of réis before the cifrão, réis after it."""
    total = int(f"{found['mil'].replace('.', '')}{found['reis']}")
    noun = " réis" if "réis" not in right_of(found)[:6] else ""
    return f"{cardinal(total)}{noun}"


_PER = rf"(?:\s?/\s?(?P<per>{UNIT}(?![{LETTER}\d²³])|[{LETTER}]{{3,}}))?"
_ENDS = rf"(?![{LETTER}])"
RULES = (
    Rule(re.compile(r"(?P<mil>\d{1,3}(?:\.\d{3})*)\$(?P<reis>\d{3})(?!\d)"), _say_reis),
    Rule(re.compile(r"(?P<euros>\d{1,6})€(?P<cents>\d\d)(?!\d)"), _say_split),
    Rule(
        re.compile(
            rf"(?:(?P<low>{NUMBER})\s?(?:{_SIGN})?\s?[-–—]\s?)?(?P<number>{NUMBER})\s?(?:{_SCALE}\s(?:de\s)?)?"
            rf"(?P<letter>[kKM])?(?P<sign>{_SIGN}){_ENDS}{_PER}"
        ),
        _say_sum,
    ),
)
"""How sums are read whose sign comes last."""

SIGN_FIRST = Rule(
    re.compile(
        rf"(?P<sign>{_SIGN})\s?(?P<number>{NUMBER})(?P<letter>[kKM](?![{LETTER}]))?"
        rf"(?: {_SCALE}\b)?{_PER}"
    ),
    _say_sum,
)
"""How sums are read whose sign comes first."""
