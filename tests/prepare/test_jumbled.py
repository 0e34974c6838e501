"""Jumbled lines: words of the texts in an order that nobody can foresee."""

import random

from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.jumbled import jumbled

TEXTS = ["O gato da Teresa, esse, dorme na sala.", "Hoje telefona-me ao Rui!"]


def test_lines_are_words_of_the_texts_written_as_a_sentence_is():
    lines = jumbled(TEXTS, 200, random.Random(0), ())
    assert len(lines) == 200
    words = {"gato", "da", "teresa", "esse", "dorme", "na", "sala", "telefona-me", "ao", "rui"}
    for line in lines:
        assert line[0].isupper()
        assert line.endswith(".")
        assert 3 <= len(line.split()) <= 9
        assert {word.lower() for word in line[:-1].split()} <= words
    assert any(" Teresa" in line for line in lines), "a name keeps its capital"
    assert len(set(lines)) > 190


def test_nothing_that_is_held_out_is_said():
    texts = ["Eis um dois."]
    free = {spoken_form(line) for line in jumbled(texts, 300, random.Random(0), ())}
    assert "um dois um" in free
    taken = {"um dois um", "dois um dois"}
    assert not taken & {spoken_form(line) for line in jumbled(texts, 300, random.Random(0), taken)}


def test_texts_without_words_give_no_lines():
    assert jumbled(["Sim.", "…"], 5, random.Random(0), ()) == []
