"""The sounds of a text as Lisbon says them: what the voice models are given.

`utterance` reads a whole text, with what words do to each other: homographs by their neighbours, the coda s, breaks;
`word_ipa` one word. Numbers and abbreviations are words before they come here (`spoken.py`). How a single word sounds
is told by `spellings.py` (lexicon) and `sounds.py` (rules).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from amalia_mm.errors import InputError
from amalia_mm.portuguese import foreign, homographs
from amalia_mm.portuguese.phonemes import BREAKS, CONSONANTS, GLIDES, VOICED, Phone, ipa, sampa
from amalia_mm.portuguese.sounds import phones, sounds, without_stress
from amalia_mm.portuguese.spellings import base, marked, quality
from amalia_mm.portuguese.spoken import read_out

CLITICS = frozenset(
    "o a os as ao aos à às de do da dos das em no na nos nas num dum e que se me te lhe lhes vos por com "
    "pelo pela pelos pelas mo ma mos mas to ta tos tas lho lha lhos lhas lo la los las".split()
)
"""Words without a stress of their own."""

_E = "i"  # the conjunction
_FUTURE_ENDINGS = frozenset("ei ás á emos eis ão ia ias íamos íeis iam".split())
_NOT_ADVERBS = re.compile("(?:[ts]or|ple|cre|cle|le|sup|inst?ru|par|frag|seg|aug|ali|fer|lar?)mente$")
_DIMINUTIVE = re.compile("z(inh|it)(os?|as?)$")
_NOT_DIMINUTIVES = re.compile("^(?:re|co|a)?(?:vi|co|a|rapa|lu|nari|cru|vo|jui|feli|perdi|rai|me|vez)z(?:inh|it)")
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*", re.UNICODE)
_TOKEN = re.compile(r"(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)|(?P<number>\d[\d.,:]*)|(?P<break>[.,;:!?…]+|\n+)|(?P<other>\S)")
