"""Roman numerals: kings and popes (Afonso Primeiro, Luís Catorze), centuries, chapters, "II Guerra Mundial".

Up to ten a king has an ordinal, from eleven a cardinal; what stands before its noun is an ordinal; anything else is a
cardinal. One letter alone is a numeral only beside a word that asks for one.
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.numbers import cardinal, ordinal
from amalia_mm.portuguese.reading.gender import is_feminine
from amalia_mm.portuguese.reading.people import is_womans_name
from amalia_mm.portuguese.reading.rules import LETTER, Rule, left_of, word_after, word_before
from amalia_mm.portuguese.tables import rows, words_of

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_CANONICAL = r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_DIVISIONS = (
    r"(?i:s[ée]c(?:ulos?|s?\.?)|cap(?:[ií]tulos?|s?\.)|vol(?:umes?|s?\.)|tomos?|t[ií]tulos?|livros?|partes?|actos?|atos?|cenas?|"
    r"cantos?|anexos?|fases?|artigos?|art\.º?|sec[cç]?[çc]?(?:ão|ões)|classes?|graus?|quadros?|grupos?|tipos?|n\.?º|números?|"
    r"l[ei]i|estampas?|tabelas?|figuras?|escal(?:ão|ões)|categorias?|n[ií]ve(?:l|is)|eixos?|pilar(?:es)?|liga)"
)
_DIVIDED = re.compile(rf"\b{_DIVISIONS}\s+(?:[IVXLCDM]+(?:-?[A-Z])?(?:,| e| a| ao| ou|\s?[-–—/])\s?)*$")
_KINGS = frozenset(name for name, kind in rows("names.tsv") if kind == "king")


def value(numeral: str) -> int:
    """Return the number that a Roman numeral writes."""
    values = [_VALUES[char] for char in numeral]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))


def _say(found: re.Match[str]) -> str | None:
    numeral = found["numeral"]
    if not numeral:
        return None
    number, left, before, after = value(numeral), left_of(found), word_before(found), word_after(found)
    if _DIVIDED.search(left):
        return cardinal(number)
    is_plain = set(numeral) <= set("IVX") or (len(numeral) > 3 and numeral.startswith("M"))
    name = before.capitalize() if before.isupper() else before
    if name in _KINGS and (len(numeral) > 1 or numeral in "IVX"):
        if number > 10:
            return cardinal(number).capitalize()
        return ordinal(number, feminine=is_womans_name(name)).capitalize()
    if not is_plain or before.isupper() or (after.isupper() and len(after) > 1):
        return None
    if (
        after[:1].isupper()
        and (len(numeral) > 1 or not before or before.lower() in _ARTICLES)
        and number < 2000
    ):
        return ordinal(number, feminine=is_feminine(after))
    return cardinal(number) if len(numeral) > 1 else None


_ARTICLES = words_of("o a do da no na ao à pelo pela os as dos das nos nas")
RULES = (
    Rule(re.compile(rf"(?P<numeral>{_CANONICAL})(?![{LETTER}\d'’]|\.[{LETTER}])"), _say),
    Rule(
        re.compile(r"(?<![\w(])(?P<numeral>[ivx]{2,5})(?=\))"),
        lambda found: cardinal(value(found["numeral"].upper())),
    ),
)
"""How Roman numerals are read."""
