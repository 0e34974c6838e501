"""Accents as people write them, to varieties: what is not said stays unknown."""

from __future__ import annotations

from collections import Counter

import pytest

from amalia_mm.prepare.accents import variety_of_accent
from amalia_mm.variety import Variety


@pytest.mark.parametrize(
    ("accent", "variety"),
    [
        ("Portuguese from Portugal", Variety.PT_PT),
        ("Português de Portugal", Variety.PT_PT),
        ("Portuguese (Portugal)", Variety.PT_PT),
        ("pt_PT", Variety.PT_PT),
        ("PT-BR", Variety.PT_BR),
        ("Açoriano", Variety.PT_PT),
        ("Porto", Variety.PT_PT),
        ("Porto Alegre", Variety.PT_BR),  # not Porto
        ("Português do Brasil, Região Sul do Brasil", Variety.PT_BR),
        ("gaúcho", Variety.PT_BR),
        ("Interior Paulista", Variety.PT_BR),
        ("Moçambique", Variety.OTHER),
        ("Cabo Verde", Variety.OTHER),
        ("pt", Variety.UNKNOWN),
        ("", Variety.UNKNOWN),
        ("portuense", Variety.PT_PT),
        ("unspecified", Variety.UNKNOWN),
        ("Lisboa, a viver no Rio de Janeiro", Variety.UNKNOWN),
        ("importador", Variety.UNKNOWN),  # "porto" is no word of it
    ],
)
def test_an_accent_is_of_one_variety_or_of_none(accent: str, variety: Variety) -> None:
    assert variety_of_accent(accent) is variety


def test_what_is_not_understood_is_counted() -> None:
    notes: Counter[str] = Counter()
    for accent in ("unspecified", "unspecified", "Lisboa e Recife", "pt", "", "Minho"):
        variety_of_accent(accent, notes)
    assert sorted(notes.values()) == [1, 2]
