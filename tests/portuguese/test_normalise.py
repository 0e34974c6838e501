"""The spoken form: what a listener hears, and what it must never change."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.portuguese.normalise import NORMALISER, spoken_form, words


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Chamo-me Ana.", "chamo-me ana"),
        ("«Diga-me», pediu ela… “Já?”", "diga-me pediu ela já"),
        ("Olá,mundo! Tudo bem – sim — ótimo.", "olá mundo tudo bem sim ótimo"),
        ("um copo d'água e d’ouro", "um copo dágua e douro"),
        ("- Bom dia -", "bom dia"),
        ("O 1.º lugar, n.º 25, custa 12,50 €.", "o 1.º lugar n.º 25 custa 12,50 €"),
        ("Às 16:30, 25% da Sr.ª Silva.", "às 16:30 25% da sr.ª silva"),
        ("segunda\u2011feira", "segunda-feira"),
        ("fa\u00adlar", "falar"),
        ("cafe\u0301", "café"),
        ("  ", ""),
        ("", ""),
        ("Fê-lo; dir-te-ei --- já!", "fê-lo dir-te-ei já"),
    ],
)
def test_what_is_heard(written: str, spoken: str) -> None:
    assert spoken_form(written) == spoken
    assert words(written) == spoken.split()


def test_the_variety_of_the_spelling_is_never_hidden() -> None:
    assert spoken_form("económico") != spoken_form("econômico")
    assert spoken_form("falámos") != spoken_form("falamos")


@given(st.text())
def test_twice_is_once_and_the_result_is_clean(text: str) -> None:
    once = spoken_form(text)
    assert spoken_form(once) == once
    assert unicodedata.normalize("NFC", once) == once
    assert once == " ".join(once.split())
    assert not set(once) & set("!?;\"«»…–'")


def test_the_version_is_named() -> None:
    assert NORMALISER == "spoken-form-1"
