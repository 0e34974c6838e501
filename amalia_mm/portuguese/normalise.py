"""The spoken form of a text: the words that are heard, in the spelling that CTC targets and scores share.

One plain normalisation, European by construction: nothing is mapped between varieties, accents stay, a clitic
keeps its hyphen ("chama-se" is one word). It does not read numbers out; `spoken.py` does.
"""

from __future__ import annotations

import re
import unicodedata

NORMALISER = "spoken-form-1"
"""Stored beside every score and index: changed whenever `spoken_form` gives another result for some text."""

_HYPHENS = frozenset("-\u2010\u2011\u2212")
_APOSTROPHES = frozenset("'\u2018\u2019\u02bc\u00b4`")
_KEPT_BY_CONTEXT = ".,:"
_SIGNS = frozenset("%€$£")
_LETTER = r"[^\W_]"
_BY_CONTEXT = re.compile(
    rf"((?<={_LETTER})-(?={_LETTER})"  # a clitic or a compound: diga-me, segunda-feira
    r"|(?<=\d)[.,:](?=\d)"  # a decimal, a thousand, a clock time: 12,50 16:30
    rf"|(?<={_LETTER})\.(?=[ºª]))"  # an ordinal or an abbreviation: 1.º n.º Sr.ª
    r"|[-.,:]"
)


class _Characters(dict[int, str | None]):
    """What becomes of each character, worked out when it is first met."""

    def __missing__(self, codepoint: int) -> str | None:
        char = chr(codepoint)
        category = unicodedata.category(char)
        if char in _HYPHENS:
            spoken = "-"
        elif char in _APOSTROPHES or category == "Cf":
            spoken = None
        elif char.isalnum() or char in _SIGNS or char in _KEPT_BY_CONTEXT or category[0] == "M":
            spoken = char
        else:
            spoken = " "
        self[codepoint] = spoken
        return spoken


_CHARACTERS = _Characters()


def spoken_form(text: str) -> str:
    """Return the text in lower case, without punctuation, its words separated by single spaces.

    The result is NFC; hyphens inside words stay, apostrophes close up ("d'água" gives "dágua"), other
    punctuation separates words. Ordinals, decimals, clock times, per cent and currency signs are left as they
    are written. Applying it twice changes nothing.
    """
    text = unicodedata.normalize("NFC", text).lower().translate(_CHARACTERS)
    text = unicodedata.normalize("NFC", text)
    return " ".join(_BY_CONTEXT.sub(lambda match: match[1] or " ", text).split())


def words(text: str) -> list[str]:
    """Return the words of the spoken form, in order."""
    return spoken_form(text).split()
