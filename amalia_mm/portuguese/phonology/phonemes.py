"""The sounds of Lisbon Portuguese as the voice models count them, and how they are written: IPA and SAMPA.

It knows symbols, not how words are read: `g2p.py` does. The level is broad: no β ð ɣ, and ɨ stays where it is
usually dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ORAL_VOWELS = ("i", "e", "ɛ", "a", "ɐ", "ɔ", "o", "u", "ɨ")
NASAL_VOWELS = ("ĩ", "ẽ", "ɐ̃", "õ", "ũ")
VOWELS = ORAL_VOWELS + NASAL_VOWELS
GLIDES = ("j", "w", "j̃", "w̃")
CONSONANTS = (
    *("p", "b", "t", "d", "k", "ɡ", "f", "v", "s", "z", "ʃ", "ʒ"),
    *("m", "n", "ɲ", "l", "ɫ", "ʎ", "ɾ", "ʁ"),
)
BREAKS = (",", ".", "?", "!")
"""Where a voice pauses, and how the phrase before it ends."""

PAD = "_"
SYMBOLS = (PAD, *VOWELS, *GLIDES, *CONSONANTS, *BREAKS)
"""Every symbol in a fixed order: models number them by it. The first fills up short rows and is never said."""

_SAMPA: dict[str, str] = dict(
    zip(
        ("ɛ", "ɐ", "ɔ", "ɨ", "ĩ", "ẽ", "ɐ̃", "õ", "ũ", "j̃", "w̃", "ɡ", "ʃ", "ʒ", "ɲ", "ɫ", "ʎ", "ɾ", "ʁ"),
        (
            "E",
            "6",
            "O",
            "@",
            "i~",
            "e~",
            "6~",
            "o~",
            "u~",
            "j~",
            "w~",
            "g",
            "S",
            "Z",
            "J",
            "l~",
            "L",
            "r",
            "R",
        ),
        strict=True,
    )
)
_STOPS = frozenset("pbtdkɡfv")
_LIQUIDS = frozenset("lɾ")


@dataclass(frozen=True)
class Phone:
    """One sound, or one of `BREAKS`.

    `stressed` is true of the vowel that carries the stress of its word, `word_start` of the first sound of a word.
    """

    symbol: str
    stressed: bool = False
    word_start: bool = False


def ipa(phones: Sequence[Phone]) -> str:
    """Return the sounds in IPA: words separated by spaces, ˈ before each stressed syllable, breaks attached."""
    return _written(phones, "ˈ", {})


def sampa(phones: Sequence[Phone]) -> str:
    """Return the sounds in SAMPA for Portuguese: 6 is ɐ, @ is ɨ, ~ is nasal, l~ is the dark l, \" is the stress."""
    return _written(phones, '"', _SAMPA)


def _written(phones: Sequence[Phone], mark: str, names: Mapping[str, str]) -> str:
    marked = {_onset(phones, i) for i, phone in enumerate(phones) if phone.stressed}
    pieces: list[str] = []
    for i, phone in enumerate(phones):
        if phone.word_start and pieces:
            pieces.append(" ")
        if i in marked:
            pieces.append(mark)
        pieces.append(names.get(phone.symbol, phone.symbol))
    return "".join(pieces)


def _onset(phones: Sequence[Phone], nucleus: int) -> int:
    """Return where the vowel's syllable begins: at the word's start, or with one consonant, or stop and liquid."""
    first = nucleus
    while not phones[first].word_start and phones[first - 1].symbol in GLIDES[:2]:
        first -= 1
    start = first
    while not phones[start].word_start and phones[start - 1].symbol in CONSONANTS:
        start -= 1
    if phones[start].word_start or first == start:
        return start
    cluster = first - start >= 2 and phones[first - 1].symbol in _LIQUIDS
    return first - 2 if cluster and phones[first - 2].symbol in _STOPS else first - 1
