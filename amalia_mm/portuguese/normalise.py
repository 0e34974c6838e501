"""The spoken form of a text: the words that are heard, in the spelling that CTC targets and scores share.

One plain normalisation, European by construction: nothing is mapped between varieties, accents stay, a clitic keeps
its hyphen ("chama-se" is one word). It does not read numbers out; `spoken.py` does.
"""

from __future__ import annotations

import re
import unicodedata

NORMALISER = "spoken-form-1"
"""Stored beside every score and every index: change it whenever `spoken_form` gives another result for some text."""

_HYPHENS = str.maketrans({"\u2010": "-", "\u2011": "-", "\u2212": "-"})
_APOSTROPHES = "'\u2018\u2019\u02bc\u00b4`"
_SIGNS = frozenset("%€$£")
_LETTER = r"[^\W_]"
_PROTECTED = re.compile(
    rf"(?<={_LETTER})-(?={_LETTER})"  # a clitic or a compound: diga-me, segunda-feira
    r"|(?<=\d)[.,:](?=\d)"  # a decimal, a thousand, a clock time: 12,50 16:30
    rf"|(?<={_LETTER})\.(?=[ºª])"  # an ordinal or an abbreviation: 1.º n.º Sr.ª
)


def spoken_form(text: str) -> str:
    """Return the text in lower case, without punctuation, its words separated by single spaces.

    The result is NFC; hyphens inside words stay, apostrophes close up ("d'água" gives "dágua"), other punctuation
    separates words. Ordinals, decimals, clock times, per cent and currency signs are left as they are written.
    Applying it twice changes nothing.
    """
    text = unicodedata.normalize("NFC", text).translate(_HYPHENS).lower()
    text = "".join(char for char in text if char not in _APOSTROPHES and unicodedata.category(char) != "Cf")
    text = unicodedata.normalize("NFC", text)
    kept = {match.start() for match in _PROTECTED.finditer(text)}
    chars = (char if i in kept or _belongs_to_word(char) else " " for i, char in enumerate(text))
    return " ".join("".join(chars).split())


def words(text: str) -> list[str]:
    """Return the words of the spoken form, in order."""
    return spoken_form(text).split()


def _belongs_to_word(char: str) -> bool:
    return char.isalnum() or char in _SIGNS or unicodedata.category(char)[0] == "M"
