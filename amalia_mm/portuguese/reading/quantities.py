"""Numbers in digits, alone and with what they count: 1 234 pessoas, 12,5 %, 5 km/h, -3 °C, 3-2, 1/2, 1.º, 4x4.

A number agrees with the noun that follows it, with its unit, or with a feminine plural article before it. Thousands are
parted by spaces or points, decimals by a comma; a point that does not part thousands is read "ponto".
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.numbers import cardinal, decimal, ordinal, whole
from amalia_mm.portuguese.reading import fractions
from amalia_mm.portuguese.reading.gender import is_feminine
from amalia_mm.portuguese.reading.rules import (
    LETTER,
    Rule,
    left_of,
    right_of,
    word_before,
    words_before,
)
from amalia_mm.portuguese.reading.sentence_end import ends_sentence
from amalia_mm.portuguese.reading.units import UNIT, UNITS, of_unit
from amalia_mm.portuguese.tables import words_of

NUMBER = (
    r"(?:[1-9]\d{0,2}(?:,\d{3})+\.\d\d?(?!\.?\d)|"
    r"[1-9]\d{0,2}(?:(?: \d{3})+|(?:\.\d{3})+|(?:,\d{3}){2,})(?![\d])(?:,\d+)?|\d+(?:,\d+|\.\d+(?!\.?\d))?)"
)
"""How a number looks in digits: thousands by space, point or (twice, or before a decimal point) comma; decimals by a
comma or a point."""

_PARTS = re.compile(r"(?P<whole>\d+)(?:(?P<mark>[.,])(?P<decimals>\d+))?")
_SCALES = r"(?:mil|milh(?:ão|ões)|bili(?:ão|ões)|trili(?:ão|ões))"
_OTHERS = re.compile(r"(?:, \d+){0,3} (?P<joint>a|ou|e|em cada|em) (?P<other>\d+)(?= )")
"""What shares a noun with a number before it: "1 ou 2 horas", "de 2 em 2 horas", "2, 3 e 4 colheres"."""
_NEXT = re.compile(
    rf" (?:mil )?(?:ou (?:mais|menos) )?"
    rf"([{LETTER}-]+)(?: ([{LETTER}-]+))?(?: ([{LETTER}-]+))?"
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
_NO_NOUNS = words_of(
    "as os das dos nas nos às aos pelas pelos mais menos mas depois antes apenas através quais eles elas nós vós "
    "aliás além atrás somos estamos temos vamos"
)
_DEGREE_VERBS = words_of("estão estavam estiveram estarão fazem faziam fazia fizeram marca marcava marcavam")
_DEGREE_NOUNS = words_of("temperatura temperaturas febre termómetro termómetros mínima máxima ângulo forno")
_ONE_MAN = words_of("o no do ao pelo um num dum este esse")
_DEGREES_FOLLOW = re.compile(
    r" (?:de (?:febre|latitude|longitude|inclinação)|positivos|negativos|à sombra|centígrados|[NSEO]\b|[Nn]orte|[Ss]ul)"
)
_DASH = r"(?:\s?[-–]\s?|—)"


def split_number(written: str) -> tuple[str, str, str]:
    """Return the digits before the mark, the word for the mark, and the digits after it; "" for what is not there."""
    if re.fullmatch(r"\d{1,3}(?: \d{3})+(?:,\d+)?", written):
        written = written.replace(" ", "")
    elif re.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?", written):
        written = written.replace(".", "")
    elif re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+\.\d+", written):
        written = written.replace(",", "").replace(".", ",")
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


def _is_shared(found: re.Match[str], written: str, others: re.Match[str]) -> bool:
    """Return whether a number counts the noun after another one: a rising pair with "e", the same twice with "em".

    "Correu 2 em 3 horas" counts two nouns and "3 e 2 pessoas" begins anew; "2 em 3 mulheres" are women.
    """
    joint, other = others["joint"], others["other"]
    if joint == "e":
        return written.isdigit() and int(written) < int(other)
    if joint == "em":
        of_time = re.match(
            r" (?:segundo|minuto|hora|dia|noite|semana|mês|mes|ano)", found.string[others.end() :]
        )
        return other == written or of_time is None
    return True


def agrees_feminine(found: re.Match[str], written: str) -> bool:
    """Return whether the number of a match counts something feminine, by the noun after it or the article before."""
    before = words_before(found, 1)
    if before and (before[0] in _LABELS or (before[0] == "à" and is_one(written))):
        return before[0] == "à"
    others = _OTHERS.match(found.string, found.end(), found.end() + 60)
    if others and not _is_shared(found, written, others):
        others = None
    start, last = (others.end(), others["other"]) if others else (found.end(), written)
    after = _NEXT.match(found.string, start, start + 60)
    if after:
        words = [word for word in after.groups() if word]
        while words and words[0] in _BEFORE_A_NOUN:
            words.pop(0)
        if (
            words
            and words[0] not in _NOT_COUNTED
            and words[0][0].islower()
            and (is_one(last) or words[0].endswith("s"))
            and is_feminine(words[0])
        ):
            return True
        if words and is_one(written) and words[0] in ("das", "destas", "dessas", "daquelas"):
            return True
        if words and re.fullmatch(_SCALES, words[0]):
            return False
    return bool(before) and before[0] in _MANY_WOMEN and left_of(found)[-1:] == " " and not is_one(written)


def of_what(found: re.Match[str], written: str) -> str:
    """Return " de" where whole millions are followed by what they count: "um milhão de pessoas"."""
    whole_part, _, decimals = split_number(written)
    if decimals or len(whole_part) < 7 or int(whole_part[-6:]):
        return ""
    after = re.match(rf" (?:grandes |novos |novas )?([{LETTER}]+)", right_of(found))
    counts = after is not None and after[1].endswith("s") and after[1].lower() not in _NO_NOUNS
    return " de" if counts else ""


def _say_measured(found: re.Match[str]) -> str | None:
    low, high, unit = found["low"], found["number"], found["unit"]
    symbol = unit.partition("/")[0]
    if symbol in UNITS and not UNITS[symbol][2] and found["gap"]:
        return None
    if found["low_unit"] and found["low_unit"] != unit:
        return None
    said, feminine = of_unit(unit, one=is_one(high) and not low)
    number = in_words(high, feminine)
    if low:
        number = f"{in_words(low, feminine)} {'por' if found['by'] else 'a'} {number}"
    whole_part, _, decimals = split_number(high)
    is_millions = not decimals and len(whole_part) > 6 and not int(whole_part[-6:])
    if unit.endswith(".") and ends_sentence(found):
        said = f"{said}."
    return f"{number} de {said}" if is_millions else f"{number} {said}"


def _say_unit(found: re.Match[str]) -> str:
    """Return the name of a unit without its number: one after "por" and before a number, else many."""
    before = words_before(found, 1)
    is_one_of_many = bool(before) and before[0] in ("por", "cada", "o", "ao", "um", "do")
    return of_unit(found[0], one=is_one_of_many or re.match(r" ?\d", right_of(found)) is not None)[0]


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
    if re.match(r"\s?=", right_of(found)):
        joint = "menos"
    return f"{in_words(low, feminine)} {joint} {in_words(high, feminine)}{of_what(found, high)}"


def _say_degrees(found: re.Match[str]) -> str | None:
    """Return degrees where a sign that may be an ordinal's stands for them; None where it is one."""
    written, left = found["number"], left_of(found)
    near, around = words_before(found, 1), words_before(found, 5)
    is_degrees = (
        split_number(written)[2] != ""
        or re.search(r"(?<![^\s(])[-–−]$|\bmenos $", left) is not None
        or _DEGREES_FOLLOW.match(right_of(found)) is not None
        or bool(_DEGREE_VERBS & set(near))
        or bool(_DEGREE_NOUNS & set(around))
    )
    if not is_degrees or (near and near[0] in _ONE_MAN):
        return None
    return f"{in_words(written)} {'grau' if is_one(written) else 'graus'}"


def _say_height(found: re.Match[str]) -> str:
    metres = int(found["metres"])
    return f"{cardinal(metres)} {'metro' if metres == 1 else 'metros'} e {cardinal(int(found['cents']))}"


def _say_ratio(found: re.Match[str]) -> str:
    return f"{whole(found['low'])} para {in_words(found['high'])}"


def _say_times(found: re.Match[str]) -> str:
    return " por ".join(in_words(part) for part in re.split(r"\s?[xX×]\s?", found[0]))


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


def _say_number(found: re.Match[str]) -> str:
    written = found["number"]
    return in_words(written, agrees_feminine(found, written)) + of_what(found, written)


def _say_chain(found: re.Match[str]) -> str:
    return ", ".join(whole(part) for part in re.split("[-–]", found[0]))


def _say_version(found: re.Match[str]) -> str:
    return " ponto ".join(whole(part) for part in found[0].split("."))


_ENDS = rf"(?![{LETTER}\d])"
RULES = (
    Rule(re.compile(rf"(?P<number>{NUMBER})\s?[º°](?![\w²³])"), _say_degrees),
    Rule(re.compile(rf"(?P<metres>\d)\s?m\s?(?P<cents>\d\d){_ENDS}(?![.,:]\d)"), _say_height),
    Rule(
        re.compile(r"(?P<low>\d{1,4}):(?P<high>\d{1,3}(?:\.\d{3})+|\d{3,6}|\d)(?![\d:]|[.,]\d)"), _say_ratio
    ),
    *fractions.WITH_SIGN,
    Rule(
        re.compile(rf"(?:(?P<low>{NUMBER})\s?%?{_DASH})?(?P<number>{NUMBER})\s?(?P<sign>[%‰])"),
        _say_percent,
    ),
    Rule(
        re.compile(
            rf"(?:(?P<low>{NUMBER})(?:\s?(?P<low_unit>{UNIT}(?:/{UNIT})?))?(?:{_DASH}|(?P<by>\s?[x×]\s?)))?(?P<number>{NUMBER})(?P<gap>\s?)"
            rf"(?P<unit>{UNIT}(?:/(?:{UNIT}|[{LETTER}]{{3,}}))?)(?![{LETTER}\d²³º])"
        ),
        _say_measured,
    ),
    Rule(
        re.compile(r"(?P<number>\d{1,4})\s?\.?(?P<raised>[ºª°])(?P<plural>s)?(?![\w²³])(?:\.(?= [a-z]))?"),
        _say_ordinal,
    ),
    Rule(re.compile(r"(?P<number>\d{1,4})\.(?P<raised>[oa])(?P<plural>s)?\^?(?!\w)"), _say_ordinal),
    Rule(re.compile(rf"{NUMBER}(?:\s?[x×]\s?{NUMBER})+{_ENDS}|\d+(?:X\d+)+{_ENDS}"), _say_times),
    Rule(re.compile(rf"(?P<number>{NUMBER})\s?[x×]{_ENDS}"), _say_fold),
    fractions.WITH_BAR,
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

UNIT_ALONE = Rule(
    re.compile(r"(?:km/h|m/s|km²|m²|m³|cm|mmHg|mm|km|kg|kWh|°C|ºC|Mbps|MHz|GHz)(?![^\W_]|/)"),
    _say_unit,
)
"""How units without a number are read; only those that are nothing else."""
