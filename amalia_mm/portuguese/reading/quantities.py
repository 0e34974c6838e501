"""Numbers in digits, alone and with what they count: 1 234 pessoas, 12,5 %, 5 km/h, -3 °C, 3-2, 1/2, 1.º, 4x4.

A number agrees with the noun that follows it, with its unit, or with a feminine plural article before it. Thousands are
parted by spaces or points, decimals by a comma; a point that does not part thousands is read "ponto".
"""

from __future__ import annotations

import re
import unicodedata

from amalia_mm.portuguese.numbers import cardinal, decimal, ordinal, whole
from amalia_mm.portuguese.reading.gender import is_feminine
from amalia_mm.portuguese.reading.rules import (
    LETTER,
    Rule,
    any_of,
    left_of,
    right_of,
    word_before,
    words_before,
)
from amalia_mm.portuguese.tables import rows, words_of

NUMBER = r"(?:[1-9]\d{0,2}(?:(?: \d{3})+|(?:\.\d{3})+|(?:,\d{3}){2,})(?![\d])(?:,\d+)?|\d+(?:,\d+|\.\d+(?!\.?\d))?)"
"""How a number looks in digits: thousands by space, point or (twice) comma; decimals by a comma or a point."""

_UNITS = {symbol: (one, many, gap == "yes") for symbol, one, many, gap in rows("units.tsv")}
_UNIT = f"(?:{any_of(list(_UNITS))})"
_PARTS = re.compile(r"(?P<whole>\d+)(?:(?P<mark>[.,])(?P<decimals>\d+))?")
_SCALES = r"(?:mil|milh(?:ão|ões)|bili(?:ão|ões)|trili(?:ão|ões))"
_NEXT = re.compile(
    rf" (?:mil )?(?:ou (?:mais|menos) )?([{LETTER}-]+)(?: ([{LETTER}-]+))?(?: ([{LETTER}-]+))?"
)
_MANY_WOMEN = words_of(
    "as às das nas pelas estas essas aquelas destas dessas daquelas nestas nessas umas outras minhas tuas suas "
    "nossas vossas quantas primeiras últimas próximas"
)
_LABELS = words_of(
    "n número números artigo artigos art arts alínea página páginas capítulo linha sala canal dia grupo nível tipo "
    "fase figura quadro tabela anexo ponto série lote porta quarto estrada lei parte turma nota questão pergunta"
)
_NOT_COUNTED = words_of("a as A As da na às à das")
_BEFORE_A_NOUN = words_of(
    "grandes principais maiores menores melhores piores diferentes importantes enormes simples jovens breves longos "
    "grande simples primeiros segundos possíveis distintas"
)
_DASH = r"(?:\s?[-–]\s?|—)"


def split_number(written: str) -> tuple[str, str, str]:
    """Return the digits before the mark, the word for the mark, and the digits after it; "" for what is not there."""
    if re.fullmatch(r"\d{1,3}(?: \d{3})+(?:,\d+)?", written):
        written = written.replace(" ", "")
    elif re.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?", written):
        written = written.replace(".", "")
    elif re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3}){2,}", written):
        written = written.replace(",", "")
    parts = _PARTS.fullmatch(written)
    if parts is None:
        raise ValueError(f"not a number in digits: {written}")
    return parts["whole"], {",": "vírgula", ".": "ponto", None: ""}[parts["mark"]], parts["decimals"] or ""


def in_words(written: str, feminine: bool = False) -> str:
    """Return a number in digits in words: "mil duzentas e trinta e quatro", "doze vírgula cinco"."""
    number, mark, decimals = split_number(written)
    said = whole(number, feminine)
    return f"{said} {mark} {decimal(decimals)}" if decimals else said


def is_one(written: str) -> bool:
    """Return whether what is counted stands in the singular."""
    return written.lstrip("0") == "1"


def agrees_feminine(found: re.Match[str], written: str) -> bool:
    """Return whether the number of a match counts something feminine, by the noun after it or the article before."""
    before = words_before(found, 1)
    if before and (before[0] in _LABELS or (before[0] == "à" and is_one(written))):
        return before[0] == "à"
    after = _NEXT.match(right_of(found))
    if after:
        words = [word for word in after.groups() if word]
        while words and words[0] in _BEFORE_A_NOUN:
            words.pop(0)
        if (
            words
            and words[0] not in _NOT_COUNTED
            and words[0][0].islower()
            and (is_one(written) or words[0].endswith("s"))
            and is_feminine(words[0])
        ):
            return True
        if words and is_one(written) and words[0] in ("das", "destas", "dessas", "daquelas"):
            return True
        if words and re.fullmatch(_SCALES, words[0]):
            return False
    return bool(before) and before[0] in _MANY_WOMEN and left_of(found)[-1:] == " " and not is_one(written)


def of_unit(unit: str, one: bool) -> tuple[str, bool]:
    """Return the name of a unit, or of one per another ("quilómetros por hora"), and whether it is feminine."""
    name, _, per = unit.partition("/")
    singular, plural, _ = _UNITS[name]
    said = singular if one else plural
    if per:
        said += f" por {_UNITS[per][0] if per in _UNITS else per}"
    return said, is_feminine(singular.split()[0])


def _say_measured(found: re.Match[str]) -> str | None:
    low, high, unit = found["low"], found["number"], found["unit"]
    symbol = unit.partition("/")[0]
    if symbol in _UNITS and not _UNITS[symbol][2] and found["gap"]:
        return None
    if found["low_unit"] and found["low_unit"] != unit:
        return None
    said, feminine = of_unit(unit, one=is_one(high) and not low)
    number = in_words(high, feminine)
    if low:
        number = f"{in_words(low, feminine)} {'por' if found['by'] else 'a'} {number}"
    return f"{number} {said}"


def _say_unit(found: re.Match[str]) -> str:
    """Return the name of a unit without its number: one after "por", many after anything else."""
    before = words_before(found, 1)
    return of_unit(found[0], one=bool(before) and before[0] in ("por", "cada", "o", "ao", "um", "do"))[0]


def _say_percent(found: re.Match[str]) -> str:
    sign = {"%": "por cento", "‰": "por mil"}[found["sign"]]
    number = in_words(found["number"])
    return f"{in_words(found['low'])} a {number} {sign}" if found["low"] else f"{number} {sign}"


def _say_range(found: re.Match[str]) -> str:
    """Return "mil cento e trinta e nove a mil cento e oitenta e cinco"; a code keeps its dash: "oitocentos traço"."""
    low, high = found["low"], found["high"]
    before = word_before(found)
    is_code = len(before) > 1 and before.isupper() and before.isalpha() and left_of(found)[-1:] == " "
    feminine = agrees_feminine(found, high)
    joint = "traço" if is_code and int(split_number(high)[0]) < int(split_number(low)[0]) else "a"
    return f"{in_words(low, feminine)} {joint} {in_words(high, feminine)}"


def _say_times(found: re.Match[str]) -> str:
    return " por ".join(in_words(part) for part in re.split(r"\s?[x×]\s?", found[0]))


def _say_fold(found: re.Match[str]) -> str:
    return f"{in_words(found['number'], feminine=True)} {'vez' if is_one(found['number']) else 'vezes'}"


_ARTICLE_OF_LAW = re.compile(
    r"(?i:art(?:igos?|s?\.?(?:[º°]s?)?))\s(?:\d+\s?\.?[º°o]\^?(?:-[A-Z])?(?:,| e| a| ao| ou)\s)*$"
)


def _say_ordinal(found: re.Match[str]) -> str | None:
    number, feminine = int(found["number"]), found["raised"] in "ªa"
    if found["raised"] == "°" and not re.match(rf" [{LETTER}]", right_of(found)):
        return None
    is_article = _ARTICLE_OF_LAW.search(left_of(found)) is not None
    if not 1 <= number < 2000 or (is_article and number > 20):
        return cardinal(number)
    return ordinal(number, feminine, plural=bool(found["plural"]))


_FRACTIONS = {
    2: "meio",
    3: "terço",
    4: "quarto",
    5: "quinto",
    6: "sexto",
    7: "sétimo",
    8: "oitavo",
    9: "nono",
    10: "décimo",
}
_FRACTIONS |= {100: "centésimo", 1000: "milésimo"}


def fraction(over: int, under: int) -> str:
    """Return a fraction in words: "um meio", "três quartos", "cinco doze avos"."""
    named = _FRACTIONS.get(under)
    if named is None:
        return f"{cardinal(over)} {cardinal(under)} avos"
    return f"{cardinal(over)} {named}{'' if over == 1 else 's'}"


def _say_fraction(found: re.Match[str]) -> str:
    over, under = int(found["over"]), int(found["under"])
    if found["whole"]:
        half = "meio" if (over, under) == (1, 2) else fraction(over, under)
        return f"{cardinal(int(found['whole']))} e {half}"
    if 0 < over < under and under in _FRACTIONS and len(found["over"]) == 1:
        return fraction(over, under)
    return f"{whole(found['over'])} barra {whole(found['under'])}"


def _say_sign_fraction(found: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", found["sign"]).partition("⁄")
    before = found["whole"]
    said = "meio" if (over, under) == ("1", "2") and before else fraction(int(over), int(under))
    return f"{whole(before)} e {said}" if before else said


def _say_number(found: re.Match[str]) -> str:
    written = found["number"]
    return in_words(written, agrees_feminine(found, written))


def _say_chain(found: re.Match[str]) -> str:
    return ", ".join(whole(part) for part in re.split("[-–]", found[0]))


def _say_version(found: re.Match[str]) -> str:
    return " ponto ".join(whole(part) for part in found[0].split("."))


_ENDS = rf"(?![{LETTER}\d])"
RULES = (
    Rule(re.compile(r"(?P<whole>\d+) ?(?P<sign>[¼-¾⅐-⅞])"), _say_sign_fraction),
    Rule(
        re.compile(rf"(?:(?P<low>{NUMBER})\s?%?{_DASH})?(?P<number>{NUMBER})\s?(?P<sign>[%‰])"),
        _say_percent,
    ),
    Rule(
        re.compile(
            rf"(?:(?P<low>{NUMBER})(?:\s?(?P<low_unit>{_UNIT}(?:/{_UNIT})?))?(?:{_DASH}|(?P<by>\s?[x×]\s?)))?(?P<number>{NUMBER})(?P<gap>\s?)"
            rf"(?P<unit>{_UNIT}(?:/(?:{_UNIT}|[{LETTER}]{{3,}}))?)(?![{LETTER}\d²³º])"
        ),
        _say_measured,
    ),
    Rule(
        re.compile(r"(?P<number>\d{1,4})\s?\.?(?P<raised>[ºª°])(?P<plural>s)?(?![\w²³])(?:\.(?= [a-z]))?"),
        _say_ordinal,
    ),
    Rule(re.compile(r"(?P<number>\d{1,4})\.(?P<raised>[oa])(?P<plural>s)?\^?(?!\w)"), _say_ordinal),
    Rule(re.compile(rf"{NUMBER}(?:\s?[x×]\s?{NUMBER})+{_ENDS}"), _say_times),
    Rule(re.compile(rf"(?P<number>{NUMBER})\s?[x×]{_ENDS}"), _say_fold),
    Rule(
        re.compile(r"(?:(?P<whole>\d{1,3}) )?(?P<over>\d+)\s?[/⁄]\s?(?P<under>\d+)(?!\d|[/-]\d)"),
        _say_fraction,
    ),
    Rule(
        re.compile(
            rf"(?<!\d-)(?<![{LETTER}]-)(?P<low>{NUMBER}){_DASH}(?P<high>{NUMBER})(?!{_DASH}\d|[{LETTER}\d]|\s?\.?[ºª°])"
        ),
        _say_range,
    ),
    Rule(re.compile(r"(?!\d{1,3}(?:\.\d{3}){2,}(?!\.?\d))\d+(?:\.\d+){2,}"), _say_version),
    Rule(re.compile(r"\d+(?:[-–]\d+){2,}|(?<=-)\d+-\d+"), _say_chain),
    Rule(re.compile(rf"(?P<number>{NUMBER})"), _say_number),
)
"""How numbers are read, from the most particular on."""

SIGN = Rule(
    re.compile(r"(?<![^\s(«“\"=×/])[-–−+](?=[\d€$£])"), lambda found: "mais" if found[0] == "+" else "menos"
)
"""How the sign of a number is read, where no word or digit stands before it."""

SIGN_FRACTION = Rule(re.compile(r"(?P<whole>)(?P<sign>[¼-¾⅐-⅞])"), _say_sign_fraction)
"""How a fraction in one sign is read, where no digit stands before it."""

UNIT_ALONE = Rule(
    re.compile(r"(?:km/h|m/s|km²|m²|m³|cm|mm|km|kg|kWh|°C|ºC|Mbps|MHz|GHz)(?![^\W_]|/)"),
    _say_unit,
)
"""How units without a number are read; only those that are nothing else."""
