"""What is not Portuguese spelling, respelt: foreign words and names, letters, acronyms.

Frequent foreign words stand in `data/foreign.txt` with the marked spelling a Lisbon speaker gives them; the rest is
rewritten letter by letter. It knows nothing of how many there are in a text, nor of numbers.
"""

from __future__ import annotations

import re
import unicodedata

from amalia_mm.portuguese.spellings import read_rows

LETTERS = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        "á bê cê dê é éfe guê agá í jóta cápa éle éme éne ó pê quê érre ésse tê ú vê dábliu chis ípsilon zê".split(),
        strict=True,
    )
)
"""The name of each letter, in marked spelling."""

VOWELS = frozenset("aeiouyáéíóúâêôãõàüïẽĩũèòʉ")
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyzáéíóúâêôãõàçüïẽĩũèòʉ")

_WORDS = {word: marks for row in read_rows("foreign.txt") for word, _, marks in (x.partition("=") for x in row)}

_OTHER_LETTERS = {
    **{"ñ": "nh", "ß": "ss", "ø": "e", "æ": "é", "œ": "é", "å": "ó", "ä": "é", "ö": "e", "ł": "l", "đ": "d"},
    **{"š": "ch", "ş": "ch", "ș": "ch", "č": "tch", "ć": "tch", "ž": "j", "ż": "j", "ğ": "", "ı": "i", "þ": "t", "ð": "d"},
}
_FOREIGN = re.compile(
    "[kwy]|th|sh|sch|ck|(?:oo|ee)[dkpt]$|ph|tch|mc|zz|tz|'|[bdfgkptvj]$|[bdfgkptv]s$|[^aeiou]h(?<![cnlpts]h)"
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
        ("tz|zz", "ts"),
        ("kh", "k"),
        ("gh", "g"),
        ("^y(?=[aeiou])", "i"),
        ("ay|ey(?=$|[^aeiou])", "ei"),
        ("y", "i"),
        ("ow$", "ou"),
        ("(?<=[aeo])w(?=$|[^aeiou])", "u"),
        ("k(?=[eiéêí])", "qu"),
        ("k", "c"),
        (r"([bdfglmnpt])\1", r"\1"),
        ("ij$", "ei"),
        ("j$", "dj"),
    )
)
_STRESSED_BEFORE_END = re.compile("([aeiou])([^aeiouáéíóúâêô]+(?:e[rnl]|on|an))$")  # Jackson, Schwarzenegger
_ACUTE = dict(zip("aeiou", "áéíóú", strict=True))
_PRONOUNCEABLE = re.compile("(?:[^aeiou]?[aeiou]){2,}[^aeiou]?|[^aeiou]?[aeiou](?:[^aeiou]{1,2}[aeiou])+[^aeiou]?")


def plain_letters(word: str) -> str:
    """Return a word in small letters with letters of other Latin alphabets written in the Portuguese one."""
    if ALPHABET.issuperset(word):
        return word
    found = []
    for letter in word:
        if letter in ALPHABET:
            found.append(letter)
        elif letter in _OTHER_LETTERS:
            found.append(_OTHER_LETTERS[letter])
        else:
            found.append("".join(x for x in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(x)))
    return "".join(found)


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


def is_read_as_word(acronym: str) -> bool:
    """Return whether capitals are said as one word (NATO, SIDA) and not letter by letter (PSD, RTP)."""
    word = acronym.lower()
    return word in _WORDS or (len(word) >= 4 and _PRONOUNCEABLE.fullmatch(word) is not None)
