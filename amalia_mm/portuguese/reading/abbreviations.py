"""Shortened words in full: "Sr.ª" senhora, "p. 28" página, "Av." avenida, "D. Maria" Dona Maria, "etc.".

What is short for what, and where, stands in `data/abbreviations.tsv`. Its third column says what has to stand around
an abbreviation: `number` and `name` (a capital) to its right, `place` either of them, `small` a word in lower case,
`letter` a letter with a bracket, `day` an hour or another day, `year` and `of year` a year, `final` a pause, `after` a
number to its left and `floor` a number or a floor; of a `word`, which may mean itself, a man's article to its left and
a name to its right. The point of one marked `end` may also end a sentence, that of a `noun` does before a word that
opens one, and that of a `name` where no name follows (`sentence_end.py`).
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.reading.people import is_womans_name, is_womans_name_alone
from amalia_mm.portuguese.reading.rules import (
    LETTER,
    Rule,
    left_of,
    right_of,
    word_after,
    word_before,
    words_before,
)
from amalia_mm.portuguese.reading.sentence_end import (
    CAPITAL,
    ends_sentence,
    is_before_opener,
    is_sure_title,
    is_title,
)
from amalia_mm.portuguese.tables import rows, words_of

_YEAR = r"(?:1[1-9]|20)\d\d(?!\d)"
_RIGHT = {
    "": "",
    "end": "",
    "number": rf"(?= ?(?:\d|[IVXLC]+(?![{LETTER}])))",
    "noun": "",
    "name": rf"(?= ?[{CAPITAL}])",
    "word": rf"(?= [{CAPITAL}])",
    "of year": rf"(?= de {_YEAR})",
    "year": rf"(?= (?:de )?{_YEAR})",
    "place": rf"(?= ?(?:[{CAPITAL}\d]|d[aeo]s? ))",
    "small": rf"(?= [{LETTER}])",
    "letter": r"(?= [a-z]\))",
    "final": r"(?=\s*$|[,;:!?)])",
    "after": "",
    "floor": "",
    "day": r"(?=,? (?:e|às|das|a|\d))",
}
_AFTER_A_NUMBER = re.compile(r"(?:\d[ºª.]*|\d+ de)\s*$")
_AFTER_A_FLOOR = re.compile(r"(?:\d[ºª.]*|andar|[Rr]/[Cc]|[Cc]/[Vv]|chão|cave|lado|porta),?\s*$")
_VOWELS = frozenset("AEIOUHÁÂÉÍÓÔÚ")
_BEFORE_TITLES = words_of("de do da e o a ao à com para por em no na pelo pela")
_TITLES = words_of("Rei Rainha Infante Infanta Príncipe Princesa Bispo Arcebispo Cardeal Conde Duque Marquês")
_FEMININE = {
    "professor": "professora",
    "enfermeiro": "enfermeira",
    "engenheiro": "engenheira",
    "arquiteto": "arquiteta",
    "doutor": "doutora",
}
_WOMANS_ARTICLES = words_of("a à da na pela uma esta essa aquela minha nossa cara")
_WOMANS_TITLES = words_of("sr.ª sra. dr.ª dra. exma. ex.ma eng.ª prof.ª")
_MANS_TITLES = words_of("sr. snr. dr. exmo. ex.mo eng.º prof.º")
_MANS_ARTICLES = words_of("o ao do no pelo um este esse aquele meu nosso caro senhor")


def _pattern(written: str) -> str:
    """Return what an abbreviation looks like: small letters may begin with a capital, º may lack its dot or be an o."""
    pattern = re.escape(written).replace(r"\ ", r"\s?")
    pattern = pattern.replace(r"\.ºs", r"(?:\.?\s?ºs|\.os)").replace(r"\.ªs", r"(?:\.?\s?ªs|\.as)")
    pattern = pattern.replace(r"\.º", r"(?:\.?\s?[º°]|\.o\^?)").replace(r"\.ª", r"(?:\.?\s?ª|\.a)")
    if written == written.lower():
        pattern = f"[{written[0]}{written[0].upper()}]{pattern[1:]}"
    if written == "n.º":
        return rf"{pattern}(?![^\W\d_])"  # "nº24": its figure may follow at once
    return pattern if written[-1] in "./,:" else rf"{pattern}(?![^\W_])"


def _say(found: re.Match[str]) -> str | None:
    spoken, where = _ROWS[int((found.lastgroup or "")[1:])][1:]
    if where == "after" and not _AFTER_A_NUMBER.search(left_of(found)):
        return None
    if where == "floor" and not _AFTER_A_FLOOR.search(left_of(found)):
        return None
    if (spoken == "Rua" and in_a_name(found)) or (where == "word" and not is_sure_title(found)):
        return None
    ends = _ends(found, where)
    if ends and where == "name" and spoken not in _SAID_ALONE:
        return None
    if spoken in _FEMININE and _is_womans_title(found, alone=ends):
        spoken = _FEMININE[spoken]
    said = spoken[0].upper() + spoken[1:] if found[0][0].isupper() else spoken
    return f"{said}." if ends else said


def _ends(found: re.Match[str], where: str) -> bool:
    """Return whether an abbreviation of this kind stands at the end of a sentence, which keeps its point."""
    if where == "final":
        return not right_of(found).strip()
    if found[0][-1] != ".":
        return False
    if where == "end":
        return ends_sentence(found)
    if where == "name":
        return not is_title(found)
    return where in ("noun", "after", "floor") and is_before_opener(found)


def _is_womans_title(found: re.Match[str], alone: bool) -> bool:
    """Return whether a title that may be a man's is a woman's: by the article or title before, or the name after."""
    before, near = word_before(found), words_before(found, 1)
    if before.lower() in _WOMANS_TITLES or (near and near[0] in _WOMANS_ARTICLES):
        return True
    if alone or before.lower() in _MANS_TITLES or (near and near[0] in _MANS_ARTICLES):
        return False
    return is_womans_name_alone(word_after(found))


def in_a_name(found: re.Match[str]) -> bool:
    """Return whether a capital with a point is an initial: a name or another initial stands before it."""
    before = word_before(found)
    is_no_name = before in _TITLES or (before.isupper() and before.lower() in _BEFORE_TITLES)
    return not is_no_name and bool(re.fullmatch(rf"[{CAPITAL}](?:[{LETTER}'’-]+|\.)", before))


def _say_dom(found: re.Match[str]) -> str | None:
    if in_a_name(found):
        return None
    return "Dona" if is_womans_name(word_after(found)) else "Dom"


def _say_saint(found: re.Match[str]) -> str | None:
    if in_a_name(found):
        return None
    name = word_after(found)
    if is_womans_name(name):
        return "Santa"
    return "Santo" if name[0] in _VOWELS and name not in ("Henrique", "Hugo") else "São"


_FIRST = {"number": 0, "final": 2, "after": 3}
_ROWS = sorted(rows("abbreviations.tsv"), key=lambda row: (-len(row[0]), _FIRST.get(row[2], 1)))
_SAID_ALONE = frozenset(row[1] for row in _ROWS if row[2] == "final")
_NAME_FOLLOWS = rf"(?= [{CAPITAL}][{LETTER}])"
RULES = (
    Rule(
        re.compile("|".join(f"(?P<g{i}>{_pattern(row[0])}{_RIGHT[row[2]]})" for i, row in enumerate(_ROWS))),
        _say,
    ),
    Rule(re.compile(rf"D\.{_NAME_FOLLOWS}"), _say_dom),
    Rule(re.compile(rf"S\.{_NAME_FOLLOWS}"), _say_saint),
)
"""How abbreviations are read."""
