"""Fractions: 3/4 do bolo "três quartos do bolo", 1/2 chávena "meia chávena", 1½ "um e meio", ½ kg "meio quilo".

What is no fraction is read with its bar: 46/2018 "quarenta e seis barra dois mil e dezoito", nota 18/20 "dezoito em
vinte"; the tension of blood without it: 12/8 "doze oito", 120/80 "cento e vinte por oitenta".
"""

from __future__ import annotations

import re
import unicodedata

from amalia_mm.portuguese.numbers import cardinal, whole
from amalia_mm.portuguese.reading.gender import is_feminine
from amalia_mm.portuguese.reading.rules import LETTER, Rule, right_of, words_before
from amalia_mm.portuguese.reading.sentence_end import ends_sentence
from amalia_mm.portuguese.reading.units import UNIT, of_unit
from amalia_mm.portuguese.tables import words_of

_NAMES = {
    2: "meio", 3: "terço", 4: "quarto", 5: "quinto", 6: "sexto", 7: "sétimo", 8: "oitavo", 9: "nono",
    10: "décimo", 100: "centésimo", 1000: "milésimo",
}  # fmt: skip
_MARKS = words_of("nota notas classificação pontuação avaliação")
_PRESSURES = words_of("tensão tensões pressão pressões ta")
_HALVED = re.compile(rf" (?!e |de |d[aeo]s? |da |a |o |por |em |mais |menos |vezes )([{LETTER}]+)")


def fraction(over: int, under: int) -> str:
    """Return a fraction in words: "um meio", "três quartos", "cinco doze avos"."""
    named = _NAMES.get(under)
    if named is None:
        return f"{cardinal(over)} {cardinal(under)} avos"
    return f"{cardinal(over)} {named}{'' if over == 1 else 's'}"


def is_blood_pressure(found: re.Match[str], high: int, low: int) -> bool:
    """Return whether two numbers with a bar between are the pressures of blood: "tensão 12/8", "120/80"."""
    measured = _PRESSURES & set(words_before(found, 4))
    return bool(measured) and 3 < low < high < 300


def _say_half(found: re.Match[str]) -> str | None:
    """Return "meio quilo" and "meia chávena" for a half of what follows; None where nothing does."""
    unit = found["unit"]
    if unit:
        name, feminine = of_unit(unit, one=True)
        is_last = unit.endswith(".") and ends_sentence(found)
        return f"{'meia' if feminine else 'meio'} {name}{'.' if is_last else ''}"
    halved = _HALVED.match(right_of(found))
    if halved is None or not halved[1].islower():
        return None
    return "meia" if is_feminine(halved[1]) else "meio"


def _say_bar(found: re.Match[str]) -> str:
    over, under = int(found["over"]), int(found["under"])
    if found["whole"]:
        half = "meio" if (over, under) == (1, 2) else fraction(over, under)
        return f"{cardinal(int(found['whole']))} e {half}"
    if _MARKS & set(words_before(found, 3)) and over <= under:
        return f"{cardinal(over)} em {cardinal(under)}"
    if is_blood_pressure(found, over, under):
        return f"{cardinal(over)} {'por ' if over > 30 else ''}{cardinal(under)}"  # as a nurse tells it: "doze oito"
    if 0 < over < under and under in _NAMES and len(found["over"]) == 1:
        return fraction(over, under)
    return f"{whole(found['over'])} barra {whole(found['under'])}"


def _say_sign(found: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", found["sign"]).partition("⁄")
    before = found["whole"]
    said = "meio" if (over, under) == ("1", "2") and before else fraction(int(over), int(under))
    return f"{whole(before)} e {said}" if before else said


_UNIT_OF_HALF = rf"(?:\s?(?P<unit>{UNIT})(?![{LETTER}\d²³º/]))?"
_HALF_SIGN = Rule(re.compile(rf"(?<![\d.,])½{_UNIT_OF_HALF}"), _say_half)
WITH_BAR = Rule(
    re.compile(r"(?:(?P<whole>\d{1,3}) )?(?P<over>\d+)\s?[/⁄]\s?(?P<under>\d+)(?!\d|[/-]\d)"), _say_bar
)
"""How two numbers with a bar between are read."""

WITH_SIGN = (
    Rule(re.compile(rf"(?<![\d.,/] )(?<![\d.,/])1[/⁄]2(?![\d/]){_UNIT_OF_HALF}"), _say_half),
    Rule(re.compile(r"(?P<whole>\d+) ?(?P<sign>[¼-¾⅐-⅞])"), _say_sign),
)
"""How a half of something, and a fraction in one sign after a number, are read."""

ALONE = (_HALF_SIGN, Rule(re.compile(r"(?P<whole>)(?P<sign>[¼-¾⅐-⅞])"), _say_sign))
"""How a fraction in one sign is read, where no digit stands before it."""
