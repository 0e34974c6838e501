"""Shortened words in full: "Sr.ª" senhora, "p. 28" página, "Av." avenida, "D. Maria" Dona Maria, "etc.".

What is short for what, and where, stands in `data/abbreviations.tsv`. Its third column says what has to stand around
an abbreviation: `number` and `name` (a capital) to its right, `place` either of them, `small` a word in lower case,
`letter` a letter with a bracket, `day` an hour or another day, `final` a pause, `after` a
number to its left. The point of one marked `end` may also end a sentence.
"""

from __future__ import annotations

import re

from amalia_mm.portuguese.reading.rules import LETTER, Rule, left_of, right_of, word_after, word_before
from amalia_mm.portuguese.tables import rows, words_of

_CAPITAL = "A-ZÀ-ÖØ-Þ"
_RIGHT = {
    "": "",
    "end": "",
    "number": rf"(?= ?(?:\d|[IVXLC]+(?![{LETTER}])))",
    "name": rf"(?= ?[{_CAPITAL}])",
    "place": rf"(?= ?(?:[{_CAPITAL}\d]|d[aeo]s? ))",
    "small": rf"(?= [{LETTER}])",
    "letter": r"(?= [a-z]\))",
    "final": r"(?=\s*$|[,;:!?)])",
    "after": "",
    "day": r"(?=,? (?:e|às|das|a|\d))",
}
_SENTENCE_ENDS = re.compile(rf"\s*$|\s+[«“\"(—-]*\s*[{_CAPITAL}]")
_AFTER_A_NUMBER = re.compile(r"(?:\d[ºª.]*|\d+ de)\s*$")
_VOWELS = frozenset("AEIOUHÁÂÉÍÓÔÚ")
_BEFORE_TITLES = words_of("de do da e o a ao à com para por em no na pelo pela")
_TITLES = words_of("Rei Rainha Infante Infanta Príncipe Princesa Bispo Arcebispo Cardeal Conde Duque Marquês")
_MEN_IN_A = words_of("Garcia Josué Luca Sequeira Gama Sá")
_WOMEN = frozenset(name for name, kind in rows("names.tsv") if kind == "woman")


def is_womans_name(name: str) -> bool:
    """Return whether a first name is a woman's, by a list and its last letter."""
    name = name.capitalize() if name.isupper() else name
    return name in _WOMEN or (name.endswith("a") and name not in _MEN_IN_A)


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
    if spoken == "Rua" and in_a_name(found):
        return None
    said = spoken[0].upper() + spoken[1:] if found[0][0].isupper() else spoken
    is_last = where == "final" and not right_of(found).strip()
    return (
        f"{said}." if is_last or (where == "end" and found[0][-1] == "." and ends_sentence(found)) else said
    )


def in_a_name(found: re.Match[str]) -> bool:
    """Return whether a capital with a point is an initial: a name or another initial stands before it."""
    before = word_before(found)
    is_no_name = before in _TITLES or (before.isupper() and before.lower() in _BEFORE_TITLES)
    return not is_no_name and bool(re.fullmatch(rf"[{_CAPITAL}](?:[{LETTER}'’-]+|\.)", before))


def ends_sentence(found: re.Match[str]) -> bool:
    """Return whether the point that a match ends with may be that of the sentence as well."""
    return bool(_SENTENCE_ENDS.match(right_of(found)))


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


_ROWS = sorted(rows("abbreviations.tsv"), key=lambda row: (-len(row[0]), row[2] != "number"))
_NAME_FOLLOWS = rf"(?= [{_CAPITAL}][{LETTER}])"
RULES = (
    Rule(
        re.compile("|".join(f"(?P<g{i}>{_pattern(row[0])}{_RIGHT[row[2]]})" for i, row in enumerate(_ROWS))),
        _say,
    ),
    Rule(re.compile(rf"D\.{_NAME_FOLLOWS}"), _say_dom),
    Rule(re.compile(rf"S\.{_NAME_FOLLOWS}"), _say_saint),
)
"""How abbreviations are read."""
