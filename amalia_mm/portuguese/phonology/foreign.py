"""What is not Portuguese spelling, respelt: foreign words and names, letters of other alphabets.

Frequent foreign words stand in `data/foreign.txt` with the marked spelling a Lisbon speaker gives them; the rest is
rewritten by rules, the same for all languages. It knows nothing of the words around.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from amalia_mm.errors import InputError
from amalia_mm.portuguese.phonology.spellings import read_rows

ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyzáéíóúâêôãõàçüèòï")
"""What `respelt` and the rules read."""

_WORDS = {
    word: marks for row in read_rows("foreign.txt") for word, _, marks in (x.partition("=") for x in row)
}

_OTHER_LETTERS = {
    "ñ": "nh",
    "ß": "ss",
    "ø": "e",
    "æ": "é",
    "œ": "é",
    "å": "ó",
    "ä": "é",
    "ö": "e",
    "ł": "l",
    "đ": "d",
    "ħ": "h",
    "ŋ": "ng",
    "ə": "e",
    "ŧ": "t",
    "ƒ": "f",
    "ĳ": "ei",
    "ſ": "s",
    "ɨ": "i",
    "ʉ": "u",
    "š": "ch",
    "ş": "ch",
    "ș": "ch",
    "č": "tch",
    "ć": "tch",
    "ž": "j",
    "ż": "j",
    "ğ": "",
    "ı": "i",
    "þ": "t",
    "ð": "d",
}
_FOREIGN = re.compile(
    "[kwy]|th|sh|sch|ck|oo[dklmnprt]s?$|ee[dklnprt]?s?$|ph|tch|mc|zz|tz|'|tion$|ings?$|[bdfgkptvj]$|[bdfgkptv]s$"
    "|[^aeiou]h(?<![cnlpts]h)"
)
_REWRITING = tuple(
    (re.compile(pattern), becomes)
    for pattern, becomes in (
        ("sch", "ch"),
        ("(?<=ch)w", "v"),
        ("cz", "tch"),
        ("sh", "ch"),
        ("th", "t"),
        ("ph", "f"),
        ("ck", "k"),
        ("^mc", "mák"),
        ("oo", "u"),
        ("ee|ea(?=[dklmnpt]$)", "i"),
        ("igh", "ái"),
        ("tion$", "chon"),
        ("tz|zz", "ts"),
        ("kh", "k"),
        ("gh", "g"),
        ("^y(?=[aeiou])", "i"),
        ("ay|ey(?=$|[^aeiou])", "ei"),
        ("y", "i"),
        ("ow$", "ou"),
        ("own$", "áune"),
        ("ow(?=er|[^aeiou])", "áu"),
        ("(?<=[aeo])w(?=$|[^aeiou])", "u"),
        ("k(?=[eiéêí])", "qu"),
        ("k", "c"),
        (r"([bdfglmnpt])\1", r"\1"),
        ("ij$", "ei"),
        ("j$", "dj"),
    )
)
_STRESSED_BEFORE_END = re.compile(
    "([aeiou])((?:[^aeiouáéíóúâêô]|(?<=[qg])u)+(?:e[rnl]|on|an|ings?))$"
)  # Jackson, Schwarzenegger, tracking
_ACUTE = dict(zip("aeiou", "áéíóú", strict=True))


def in_our_letters(word: str) -> str:
    """Return a word in small letters with letters of other Latin alphabets written in `ALPHABET`.

    Raises:
        InputError: A letter has no counterpart.
    """
    if ALPHABET.issuperset(word):
        return word
    return "".join(letter if letter in ALPHABET else _in_our_letters(letter, word) for letter in word)


def _in_our_letters(letter: str, word: str) -> str:
    found = _OTHER_LETTERS.get(letter)
    if found is None:
        found = "".join(x for x in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(x))
    if not found or not ALPHABET.issuperset(found):
        raise InputError(
            "text",
            found=f"the letter {letter} in {word}",
            wanted="letters that have a Portuguese reading",
            remedy="write the word as it is said",
        )
    return found


def is_one_word(pieces: Sequence[str]) -> bool:
    """Return whether the pieces of a word with hyphens are a foreign word written in one: e-mail, wi-fi, check-in."""
    return "".join(pieces) in _WORDS


def respelt(word: str) -> str | None:
    """Return the marked spelling of a foreign word in small letters, or None where Portuguese rules read it."""
    found = _WORDS.get(word)
    if found is None and word[-1:] == "s" and word[:-1] in _WORDS:
        found = f"{_WORDS[word[:-1]]}s"
    if found is not None or _FOREIGN.search(word) is None:
        return found
    for pattern, becomes in _REWRITING:
        word = pattern.sub(becomes, word)
    return _STRESSED_BEFORE_END.sub(lambda match: _ACUTE[match[1]] + match[2], word)
