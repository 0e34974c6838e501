"""Inflection and contraction against forms written by hand."""

from __future__ import annotations

import pytest

from amalia_mm.prepare.lexicon import adjective, build_lexicon, load_lexicon, noun


@pytest.mark.parametrize(
    ("word", "gender", "forms"),
    [
        ("copo", "m", "o copo|um copo|no copo|do copo|ao copo|pelo copo|num copo"
                      "|este copo|o meu copo|do teu copo"),
        ("mão", "f", "a mão|uma mão|na mão|da mão|à mão|pela mão|numa mão|esta mão|a minha mão|da tua mão"),
        ("óculos", "mp", "os óculos|uns óculos|nos óculos|dos óculos|aos óculos|pelos óculos|nuns óculos"
                         "|estes óculos|os meus óculos|dos teus óculos"),
        ("chaves", "fp", "as chaves|umas chaves|nas chaves|das chaves|às chaves|pelas chaves|numas chaves"
                         "|estas chaves|as minhas chaves|das tuas chaves"),
    ],
)  # fmt: skip
def test_a_noun_with_all_that_may_stand_before_it(word: str, gender: str, forms: str) -> None:
    entry = noun(word, gender)
    names = ("o", "um", "no", "do", "ao", "pelo", "num", "este", "o meu", "do teu")
    assert [entry.forms[name] for name in names] == forms.split("|")
    assert entry.forms[""] == word


def test_a_name_without_article_takes_the_bare_preposition() -> None:
    lisbon = noun("Lisboa", "n").forms
    assert [lisbon[name] for name in ("o", "no", "do", "ao", "pelo")] == [
        "Lisboa", "em Lisboa", "de Lisboa", "a Lisboa", "por Lisboa",
    ]  # fmt: skip
    assert "um" not in lisbon


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("limpo", "limpo limpa limpos limpas"),
        ("quente", "quente quente quentes quentes"),
        ("motorista", "motorista motorista motoristas motoristas"),
        ("azul", "azul azul azuis azuis"),
        ("fácil", "fácil fácil fáceis fáceis"),
        ("bom/boa/bons/boas", "bom boa bons boas"),
    ],
)
def test_adjectives(text: str, forms: str) -> None:
    entry = adjective(text)
    assert [entry.forms[name] for name in ("ms", "fs", "mp", "fp")] == forms.split()


def test_an_adjective_that_is_not_regular_must_be_spelt_out() -> None:
    with pytest.raises(ValueError, match="'bom' has 1 forms"):
        adjective("bom")


def test_a_table_puts_its_objects_after_every_form() -> None:
    rows = ["abrir | abre + a porta; a janela", "dormir | dorme"]
    entries = build_lexicon({"tables": {"act": {"columns": "inf tu", "rows": rows}}})["act"]
    assert [entry.forms["tu"] for entry in entries] == ["abre a porta", "abre a janela", "dorme"]
    assert entries[0].forms["inf"] == "abrir a porta"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"tables": {"act": {"columns": "inf tu", "rows": ["abrir"]}}}, "1 cells"),
        ({"phrases": {"a": "x"}, "nouns": {"a": {"m": "y"}}}, "twice"),
        ({"unions": {"a": "b"}}, "unknown"),
    ],
)
def test_a_lexicon_with_a_mistake_is_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_lexicon(data)


def test_hours_and_numbers_are_there() -> None:
    lexicon = load_lexicon()
    hours = {entry.forms["at"] for entry in lexicon["hour"]}
    assert {"às oito e meia", "à uma", "ao meio-dia", "às nove menos um quarto"} <= hours
    assert {entry.forms["fp"] for entry in lexicon["few"]} >= {"duas", "doze"}
    assert lexicon["day_of_month"][-1].forms[""] == "vinte e oito"


def test_every_form_of_the_shipped_lexicon_is_text() -> None:
    for name, entries in load_lexicon().items():
        assert entries, name
        for entry in entries:
            assert all(
                isinstance(form, str) and form.strip() == form and form for form in entry.forms.values()
            ), name
