"""How one word sounds on its own: lexicon, foreign words, -mente and -zinho, then the rules.

Sounds are the characters of `sounds.py`. It knows one word at a time; what neighbours do to it is told by `g2p.py`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from amalia_mm.portuguese.phonology.foreign import respelt
from amalia_mm.portuguese.phonology.sounds import sounds, without_stress
from amalia_mm.portuguese.phonology.spellings import base, marked, quality
from amalia_mm.portuguese.reading.spelled import letter
from amalia_mm.portuguese.tables import words_of

CLITICS = words_of(
    "o a os as ou ao aos à às de do da dos das em no na nos nas num dum e que se me te lhe lhes vos por com "
    "mas pelo pela pelos pelas mo ma mos to ta tos tas lho lha lhos lhas lo la los las"
)
"""Words without a stress of their own."""

_CLITIC_MARKS = {"o": "u", "os": "us", "e": "i", "por": "pur", "ao": "au", "aos": "aus"}
_NOT_ADVERBS = re.compile("(?:ple|cre|cle|^ator|^fer|^fo|^la|^se)mente$")  # verbs in -mentar, semente
_DIMINUTIVE = re.compile("z(inh|it)([oa]s?)$")
_NOT_DIMINUTIVES = re.compile(
    "(?:^|[^aeiou])(?:re|co|a)?(?:vi|co|a|rapa|lu|nari|cru|vo|jui|feli|perdi|rai|me|pra|rape)z(?:inh|it)"
)
_MIN_BASE_LETTERS = 4


_OPEN_NAMES = {
    "efe": "éfe",
    "ele": "éle",
    "eme": "éme",
    "ene": "éne",
    "erre": "érre",
    "esse": "ésse",
    "jota": "jóta",
}
LETTER_NAMES = {name: _OPEN_NAMES.get(name, name) for name in map(letter, "abcdefghijklmnopqrstuvwxyz")}
"""The marked spelling of the name of each letter: "ele", the letter, is ˈɛlɨ; the pronoun is ˈelɨ."""
_VOWELS = frozenset("aeiouyáéíóúâêôãõàüèòï")


def can_be_said(word: str) -> bool:
    """Return whether a word has a vowel; one without is said letter by letter."""
    return not _VOWELS.isdisjoint(word)


@lru_cache(maxsize=1 << 17)
def pronounced(word: str) -> str:
    """Return the sounds of a word in small letters of `foreign.ALPHABET`, without hyphens, said alone."""
    if word in CLITICS:
        return sounds(_CLITIC_MARKS.get(word, word), quality, is_stressed=False)
    if word.endswith("mente") and _is_adverb(word):
        stem = without_stress(spelt_sounds(base(word[:-5])))
        return (f"{stem[:-1]}ʒ" if stem[-1] == "ʃ" else stem) + spelt_sounds("mente")
    diminutive = _DIMINUTIVE.search(word) if "zi" in word else None
    if diminutive is not None and diminutive.start() >= 2 and _NOT_DIMINUTIVES.match(word) is None:
        stem = base(word[: diminutive.start()])
        return without_stress(spelt_sounds(stem)) + spelt_sounds(diminutive[0])
    foreign = respelt(word)
    return spelt_sounds(marked(word) if foreign is None else foreign)


def spelt_sounds(spelling: str) -> str:
    """Return the sounds of a marked spelling."""
    return sounds(spelling, quality)


def _is_adverb(word: str) -> bool:
    stem = word[:-5]
    return len(stem) >= _MIN_BASE_LETTERS and stem[-1] in "aelrzms" and not _NOT_ADVERBS.search(word)
