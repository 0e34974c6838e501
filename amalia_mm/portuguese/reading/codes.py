"""Numbers that are names: telephones, postal codes, tax numbers, IBAN; said in the groups that they are written in.

Three digits or more are said one by one, two as one number (808 24 24 24 "oito zero oito, vinte e quatro, …"); six is
"seis". Nine digits are a telephone where they begin as one in Portugal and nothing is counted with them.
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.numbers import one_by_one, whole
from amalia_mm.portuguese.reading.rules import LETTER, Rule, right_of, words_before
from amalia_mm.portuguese.tables import words_of

_TELEPHONE_CUES = words_of(
    "tel telef telefone telefones telm tlm tlf telemóvel telemóveis contacto contactos contato ligue liga ligar "
    "liguem ligou fax número números whatsapp chamar chame chama chamou n.º"
)
_TAX_CUES = words_of("nif nipc niss contribuinte fiscal")
_COUNTED = re.compile(rf" (?!e |ou |a |o |para |por |em |de |das |até |ext)(?:[{LETTER}]|€)|\s?[€%$]")


def in_groups(written: str) -> str:
    """Return digits group by group, with a pause between; a row of nine is cut in threes."""
    groups = re.split(r"[ .-]", written)
    if len(groups) == 1 and len(written) == 9:
        groups = [written[:3], written[3:6], written[6:]]
    return ", ".join(whole(group) if len(group) < 3 else one_by_one(group) for group in groups)


def _cues(found: re.Match[str]) -> set[str]:
    return set(words_before(found, 4))


def _say_telephone(found: re.Match[str]) -> str | None:
    """Return a telephone number; None where the digits may be a count."""
    digits = re.sub(r"\D", "", found["number"])
    is_asked = bool(_cues(found) & (_TELEPHONE_CUES | _TAX_CUES)) or bool(found["country"])
    looks_like_one = re.match(r"9[1236]|2[1-9]|30|70[78]|76|80[08]", digits) is not None
    if not is_asked and (not looks_like_one or _COUNTED.match(right_of(found))):
        return None
    country = f"mais {one_by_one(found['country'])}, " if found["country"] else ""
    return country + in_groups(found["number"])


def _say_emergency(found: re.Match[str]) -> str | None:
    before = words_before(found, 2)
    if not set(before) & {*_TELEPHONE_CUES, "emergência", "o", "ao", "do", "pelo"} or _COUNTED.match(
        right_of(found)
    ):
        return None
    return one_by_one(found[0])


def _say_postal(found: re.Match[str]) -> str:
    return f"{whole(found['area'])}, {whole(found['street'])}"


def _say_groups(found: re.Match[str]) -> str:
    """Return an account number: the letters by name, then the digits of each group."""
    digits = found["digits"].split() if " " in found["digits"] else re.findall(r"\d{1,4}", found["digits"])
    return ", ".join(["pê-tê", *(one_by_one(group) for group in digits)])


def _say_long(found: re.Match[str]) -> str | None:
    """Return a row of digits that a word before it calls a number's name, in threes."""
    if not _cues(found) & (
        _TELEPHONE_CUES | _TAX_CUES | {"conta", "código", "pin", "utente", "processo", "cartão"}
    ):
        return None
    return ", ".join(one_by_one(group) for group in re.findall(r"\d{1,3}", found[0]))


_NATIONAL = (
    r"(?P<number>\d{9}|\d{3}[ .-]\d{3}[ .-]\d{3}|\d{3}[ .-]\d\d[ .-]\d\d[ .-]\d\d|"
    r"\d\d[ .-]\d{3}[ .-]\d\d[ .-]\d\d|\d\d[ .-]\d{3}[ .-]\d{4})(?![\d,]\d|\d)"
)
RULES = (
    Rule(re.compile(rf"(?P<country>){_NATIONAL}"), _say_telephone),
    Rule(re.compile(r"11[2678]|115|144(?![\d.,/:]\d|\d|[%€º])"), _say_emergency),
    Rule(re.compile(r"(?P<area>[1-9]\d{3})-(?P<street>\d{3})(?![\d-])"), _say_postal),
    Rule(re.compile(r"\d{4,}(?![\d.,/:-]\d)"), _say_long),
)
"""How such numbers are read."""

COUNTRY_CODE = Rule(
    re.compile(rf"\(?(?:\+|00)(?P<country>351|34|33|44|49|55|1)\)?[ .-]?{_NATIONAL}"), _say_telephone
)
"""How a telephone number with its country code is read."""

IBAN = Rule(re.compile(r"PT(?P<digits>50(?: ?\d{4}){5} ?\d)(?!\d)"), _say_groups)
"""How a Portuguese account number is read."""
