"""Error counts against values counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.evaluate.metrics import (
    ErrorCount,
    HitCount,
    WordPair,
    align,
    character_errors,
    confusions,
    exact,
    is_exact,
    preferred,
    strict_form,
    word_errors,
)

SAID = ["O comboio parte às oito.", "Chama-se Ana?", "Tenho sede"]
WRITTEN = ["o comboio partiu às oito e meia", "chama ana", "tenho sede"]


def test_word_errors_are_those_counted_by_hand():
    # parte -> partiu, + e, + meia; chama-se -> chama; nothing.
    assert word_errors(SAID, WRITTEN) == ErrorCount(2, 0, 2, 9)
    assert word_errors(SAID, WRITTEN).rate == pytest.approx(4 / 9)


def test_case_and_punctuation_are_no_errors_but_accents_are():
    assert word_errors(["Está bem, obrigada!"], ["está bem obrigada"]).num_errors == 0
    assert word_errors(["Ela está cá."], ["Ela esta cá."]) == ErrorCount(1, 0, 0, 3)


def test_character_errors_count_spaces():
    assert character_errors(["Ana sai."], ["anasai"]) == ErrorCount(0, 1, 0, 7)
    assert character_errors(["pão"], ["pao"]) == ErrorCount(1, 0, 0, 3)


def test_a_corpus_is_a_sum_of_errors_over_a_sum_of_words_and_not_a_mean_of_rates():
    short = word_errors(["sim"], ["não"])
    long = word_errors(
        ["o comboio parte às oito da noite em ponto"], ["o comboio parte às oito da noite em ponto"]
    )
    assert (short + long).rate == pytest.approx(1 / 10)
    assert (
        word_errors(
            ["sim", "o comboio parte às oito da noite em ponto"],
            ["não", "o comboio parte às oito da noite em ponto"],
        )
        == short + long
    )


def test_nothing_written_and_nothing_said():
    assert word_errors(["bom dia"], [""]) == ErrorCount(0, 2, 0, 2)
    assert word_errors([""], ["bom dia"]) == ErrorCount(0, 0, 2, 0)
    assert word_errors([""], ["bom dia"]).rate is None
    assert word_errors([], []) == ErrorCount()


def test_two_lists_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="2 references and 1 hypotheses"):
        word_errors(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="1 references and 0 hypotheses"):
        character_errors(["a"], [])


@given(st.lists(st.tuples(st.text("abç -", max_size=9), st.text("abç -", max_size=9)), max_size=4))
def test_the_counts_of_a_corpus_are_the_sums_of_its_sentences(pairs):
    said, written = [a for a, _ in pairs], [b for _, b in pairs]
    total = sum((word_errors([a], [b]) for a, b in pairs), ErrorCount())
    assert word_errors(said, written) == total
    assert sum(confusions(said, written).values()) == total.num_errors


def test_confusions_name_what_was_swapped_left_out_and_added():
    found = confusions(["ele foi embora", "ele foi"], ["ela foi", "ela foi já"])
    assert found == {WordPair("ele", "ela"): 2, WordPair("embora", ""): 1, WordPair("", "já"): 1}


def test_an_alignment_keeps_the_words_in_order():
    pairs = align("quero um café", "quero um chá quente")
    assert [pair.reference for pair in pairs if pair.reference] == ["quero", "um", "café"]
    assert [pair.hypothesis for pair in pairs if pair.hypothesis] == ["quero", "um", "chá", "quente"]
    assert [pair.is_error for pair in pairs][:2] == [False, False]


@pytest.mark.parametrize(
    ("given_", "wanted", "same"),
    [
        ("Lisboa.", "Lisboa", True),
        ("  É   Lisboa!? ", "É Lisboa.", True),
        ("E\u0301 Lisboa…", "\u00c9 Lisboa", True),
        ("lisboa", "Lisboa", False),
        ("É, Lisboa", "É Lisboa", False),
        ("Nao", "Não", False),
        ("", "Lisboa", False),
    ],
)
def test_exact_is_strict_but_for_the_final_punctuation(given_, wanted, same):
    assert is_exact(given_, wanted) is same


@given(st.text(max_size=20))
def test_the_strict_form_is_its_own_strict_form(text):
    assert strict_form(strict_form(text)) == strict_form(text)


def test_exact_answers_are_counted():
    assert exact(["Lisboa.", "Porto"], ["Lisboa", "Faro"]) == HitCount(1, 2)


def test_a_tie_counts_half():
    assert preferred([-1.0, -2.0, -3.0, -1.0], [-2.0, -1.0, -3.0, -4.0]) == HitCount(2.5, 4)
    assert preferred([-1.0, -2.0, -3.0, -1.0], [-2.0, -1.0, -3.0, -4.0]).rate == pytest.approx(0.625)
    assert preferred([], []).rate is None
