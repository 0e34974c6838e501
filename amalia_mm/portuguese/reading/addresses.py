"""Addresses of mail and web sign by sign: "ana ponto silva arroba sapo ponto pê-tê"."""

from __future__ import annotations

import re

from amalia_mm.portuguese.numbers import whole
from amalia_mm.portuguese.reading.rules import LETTER, Rule
from amalia_mm.portuguese.reading.spelled import by_letters, is_sayable, letter
from amalia_mm.portuguese.tables import words_of

_SIGNS = {
    ".": "ponto", "@": "arroba", "/": "barra", "-": "traço", "_": "sublinhado", ":": "dois pontos",
    "?": "ponto de interrogação", "=": "igual", "&": "e comercial", "#": "cardinal", "%": "por cento", "~": "til",
    "+": "mais", ",": "vírgula",
    ";": "ponto e vírgula", "!": "ponto de exclamação", "*": "asterisco", "$": "cifrão", "(": "abre parêntesis",
    ")": "fecha parêntesis",
}  # fmt: skip
_PIECES = re.compile(rf"[{LETTER}]+|\d+|[^{LETTER}\d]")
_WORDS = words_of("com org net gov edu info web mail gmail hotmail outlook blog app")
_SPELLED_DOMAINS = words_of("pt br es fr uk de it us ao mz cv")


def address(written: str) -> str:
    """Return an address in words: signs by name, letters that make no syllables one by one."""
    return " ".join(_piece(piece) for piece in _PIECES.findall(written))


def _piece(piece: str) -> str:
    if piece.isdigit():
        return whole(piece) if len(piece) <= 4 else " ".join(whole(digit) for digit in piece)
    if piece in _SIGNS:
        return _SIGNS[piece]
    lower = piece.lower()
    if len(piece) == 1 and piece.isalpha():
        return letter(piece)
    if lower in _WORDS or (lower not in _SPELLED_DOMAINS and (len(piece) > 5 or is_sayable(piece))):
        return lower
    return by_letters(piece) if piece.isalpha() else " "


_DOMAINS = "pt|com|org|net|eu|gov|edu|br|es|fr|uk|de|it|io|info|tv|app|dev|blog|wiki|ao|mz|cv|int"
_PATH = r"(?:[/?#][^\s<>«»“”\"]*[^\s<>«»“”\".,;:!?)'’])?/?"
_LABEL = rf"[{LETTER}\d_-]{{1,63}}"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,5}}\.(?:{_DOMAINS})(?:\.(?:{_DOMAINS}))?(?::\d+)?(?![{LETTER}\d@-]|\.[{LETTER}\d])"
RULES = (
    Rule(
        re.compile(rf"[{LETTER}\d_.+-]{{1,64}}@[{LETTER}\d-]{{1,64}}(?:\.[{LETTER}\d-]{{1,64}}){{1,8}}"),
        lambda found: address(found[0]),
    ),
    Rule(
        re.compile(r"(?i:https?|ftp)://[^\s<>«»“”\"]*[^\s<>«»“”\".,;:!?)'’]"), lambda found: address(found[0])
    ),
    Rule(
        re.compile(rf"[wW]{{3}}\.{_LABEL}(?:\.{_LABEL}){{0,8}}(?::\d+)?{_PATH}"),
        lambda found: address(found[0]),
    ),
    Rule(re.compile(_HOST + _PATH), lambda found: address(found[0])),
)
"""How addresses are read."""
