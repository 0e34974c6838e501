"""Where a sentence ends, which sentences can be said, and why the others are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.sentences import document_pieces, speakable, split_of, split_sentences, why_unspoken


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Bom dia. Como está? Bem!", ["Bom dia.", "Como está?", "Bem!"]),
        ("O Sr. Silva veio com a Dra. Ana.", ["O Sr. Silva veio com a Dra. Ana."]),
        ("J. Silva chegou. Sentou-se.", ["J. Silva chegou.", "Sentou-se."]),
        ("Disse «Não.» Depois saiu.", ["Disse «Não.»", "Depois saiu."]),
        ("Espera... talvez venha.", ["Espera... talvez venha."]),
        ("liga a luz\napaga a luz", ["liga a luz", "apaga a luz"]),
        ("Era 1. de maio às 10.30 horas.", ["Era 1. de maio às 10.30 horas."]),
        (
            "Esta linha é comprida e foi partida pelo programa que a escreveu\nantes do fim.",
            ["Esta linha é comprida e foi partida pelo programa que a escreveu antes do fim."],
        ),
        ("", []),
    ],
)
def test_where_a_sentence_ends(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text(alphabet="abçã.!? \nAÉ0«»", max_size=80))
def test_no_word_is_lost_between_sentences(text: str) -> None:
    assert spoken_form(" ".join(split_sentences(text))) == spoken_form(text)


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("Podes abrir a janela, por favor?", None),
        ("Não é, disse ele: «guarda-chuva».", None),
        ("Sim.", "fewer than 2 words"),
        (" ".join(["palavra"] * 16), "more than 15 words"),
        ("São 3 horas.", "digits"),
        ("Custa vinte €.", "symbols or letters that are not Portuguese"),
        ("Это не то.", "symbols or letters that are not Portuguese"),
        ("Escreve para a@b.pt agora.", "symbols or letters that are not Portuguese"),
    ],
)
def test_what_a_voice_says(sentence: str, reason: str | None) -> None:
    assert why_unspoken(sentence) == reason


def test_every_sentence_is_spoken_or_counted() -> None:
    texts = ["Bom dia, Ana. Sim. São 3 horas.", "bom dia ana", "Até logo, Rui."]
    spoken, left_out = speakable(texts)
    assert list(spoken.values()) == ["Bom dia, Ana.", "Até logo, Rui."]
    assert left_out == {"fewer than 2 words": 1, "digits": 1, "repeated": 1}


@given(st.text(max_size=40))
def test_the_split_follows_from_the_words_alone(text: str) -> None:
    assert split_of(text) == split_of(f"  {text.upper().lower()} !") or text.upper().lower() != text.lower()


@given(st.text(alphabet="abç.? \n", max_size=120), st.integers(2, 40))
def test_pieces_of_a_document_are_all_of_it_and_none_is_too_long(text: str, most: int) -> None:
    pieces = document_pieces(text, most)
    assert all(len(piece.encode()) <= most for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Uma linha.\nOutra linha.\n", ["Uma linha.", "Outra linha."]),
        ("Bom dia. Está bem? Sim.", ["Bom dia.", "Está bem? Sim."]),
        ("uma frase sem ponto nenhum", ["uma frase sem", "ponto nenhum"]),
        ("a" * 40, ["a" * 17, "a" * 17, "aaaaaa"]),
        ("ã" * 10, ["ã" * 8, "ã" * 2]),
        ("Curto.", ["Curto."]),
    ],
)
def test_where_a_long_document_is_cut(text: str, pieces: list[str]) -> None:
    assert document_pieces(text, 17) == pieces
