"""Which vowel of a written word is stressed, by the Portuguese rules of spelling.

It works on the spelling that `sounds.py` has simplified (qu, gu, digraphs and soft consonants resolved), and knows
nothing of how vowels sound.
"""

from __future__ import annotations

import re

VOWELS = "aeiouáéíóúâêôàèòãõẽĩũïʉɐ"
"""Vowels of the simplified spelling; ï and ʉ are i and u that are no glide, à è ò are open without stress."""

_GLIDE = r"(?:(?<=[aeoàèòã])[iu]|(?<=[uũ])i)?"
_ACUTE = re.compile("[áéíóú]")
_CIRCUMFLEX = re.compile("[âêô]")
_TILDE = re.compile(f"[ãõĩẽũ](?=[^{VOWELS}]*[oe]?[^{VOWELS}]*$)")
_PENULTIMATE = re.compile(f"[aeiouàèòïʉũã](?={_GLIDE}[^{VOWELS}]*(?:[aeo]s?|[ae]m|ens)$)")
_LAST = re.compile(f"[aeiouàèòïʉ](?=(?:(?<=[aeoàèò])[iu]|(?<=u)i|(?<=i)u(?=$))?[^{VOWELS}]*$)")
_HIATUS = re.compile(
    f"(?<=[aeouàèò])i(?=ɲ|[mn](?![{VOWELS}])|[lz](?![{VOWELS}])|r(?![{VOWELS}r]))"  # rainha, ainda, juiz, cair, Raul
    f"|(?<=[aeiàè])u(?=ɲ|[mn](?![{VOWELS}])|[lz](?![{VOWELS}])|r(?![{VOWELS}r]))"
)
_OWN = {"i": "ï", "u": "ʉ"}


def with_hiatus(spelling: str) -> str:
    """Return the spelling with ï and ʉ where i and u after a vowel are a syllable of their own."""
    return _HIATUS.sub(lambda match: _OWN[match[0]], spelling)


def stressed_vowel(spelling: str) -> int:
    """Return the place of the stressed vowel, or -1 for what has no vowel.

    A written accent wins (acute before circumflex before tilde); then words in -a -e -o (-s), -am, -em, -ens are
    stressed on the last vowel but one, all others on the last.
    """
    for pattern in (_ACUTE, _CIRCUMFLEX, _TILDE, _PENULTIMATE, _LAST):
        match = pattern.search(spelling)
        if match is not None:
            return match.start()
    return -1
