"""Which capitals are people's names: given names of men and women, and family names, from `data/names.tsv`."""

from __future__ import annotations

from amalia_mm.portuguese.tables import rows, words_of

_NAMES = {name for name, _ in rows("names.tsv")}
_WOMEN = frozenset(name for name, kind in rows("names.tsv") if kind == "woman")
_FAMILIES = frozenset(name for name, kind in rows("names.tsv") if kind == "family")
_MEN_IN_A = words_of("Garcia Josué Luca Sequeira Gama Sá")


def is_name(name: str) -> bool:
    """Return whether a word is a given name or a family name that is known, as it is written or in capitals."""
    return _with_a_capital(name) in _NAMES


def is_womans_name(name: str) -> bool:
    """Return whether a first name is a woman's, by a list and its last letter."""
    name = _with_a_capital(name)
    return name in _WOMEN or (name.endswith("a") and name not in _MEN_IN_A)


def is_womans_name_alone(name: str) -> bool:
    """Return whether a name that may be a family's, since a title stands before it, is a woman's first name."""
    name = _with_a_capital(name)
    return name in _WOMEN and name not in _FAMILIES


def _with_a_capital(name: str) -> str:
    return name.capitalize() if name.isupper() else name
