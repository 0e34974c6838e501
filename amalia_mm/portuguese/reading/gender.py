"""Whether a noun is feminine: the agreement of "duas", "vinte e uma" and "segunda".

By its ending, with what the endings get wrong listed in `data/nouns.tsv`. Only nouns are asked about; one that is not
listed and has no telling ending counts as masculine, as a number without a noun does.
"""

from __future__ import annotations

from amalia_mm.portuguese.tables import mapping

_FEMININE_ENDINGS = (
    *("a", "as", "ã", "ãs", "ção", "ções", "são", "sões", "gião", "giões", "dade", "dades", "gem", "gens"),
    *("tude", "tudes", "ície", "ícies", "érie", "éries", "ise", "ises", "ice", "ices", "ose", "oses"),
)
_LISTED = mapping("nouns.tsv")


def is_feminine(noun: str) -> bool:
    """Return whether a noun, singular or plural, is feminine."""
    noun = noun.lower()
    if noun in _LISTED:
        return _LISTED[noun] == "f"
    return noun.endswith(_FEMININE_ENDINGS) and not noun.endswith(("ista", "istas"))
