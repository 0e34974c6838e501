"""The lexicon: every entry says something that the rules do not, once, and none is of the table it is tested on."""

from __future__ import annotations

from collections import Counter

import pytest

from amalia_mm.portuguese.phonology import homographs, spellings
from amalia_mm.portuguese.phonology.homographs import Beside, reading
from amalia_mm.portuguese.phonology.sounds import sounds
from amalia_mm.portuguese.phonology.spellings import quality, read_rows


def entries(name):
    return [entry for row in read_rows(name) for entry in row]


@pytest.mark.parametrize("name", ["spellings.txt", "foreign.txt"])
def test_a_word_stands_once_and_is_respelt(name):
    words = Counter(entry.partition("=")[0] for entry in entries(name))
    assert [word for word, count in words.items() if count > 1] == []
    for entry in entries(name):
        word, sign, marks = entry.partition("=")
        assert sign, entry
        assert marks, entry
        assert word.endswith("-") == marks.endswith("-"), entry


def test_a_respelling_changes_the_sounds(monkeypatch):
    """An entry that changes nothing hides what the rules do."""
    idle = []
    for word, marks in dict(spellings._WHOLE).items():
        with monkeypatch.context() as without:
            without.delitem(spellings._WHOLE, word)
            if sounds(spellings.marked(word), quality) == sounds(marks, quality):
                idle.append(word)
    assert idle == []


def test_a_quality_stands_once():
    words = Counter(entry for _, *row in read_rows("mid_vowels.txt") for entry in row)
    assert [word for word, count in words.items() if count > 1] == []
    assert {row[0] for row in read_rows("mid_vowels.txt")} == {"é", "ê", "ó", "ô", "ôó", "êé"}


def test_a_homograph_has_two_sounds():
    for word, (noun, verb, _) in homographs._PAIRS.items():
        assert sounds(noun, quality) != sounds(verb, quality), word


@pytest.mark.parametrize(
    ("before", "word", "after", "marks"),
    [
        ("eu", "jogo", None, "jógo"),
        ("o", "jogo", None, "jôgo"),
        ("não", "olho", None, "ólho"),
        ("um", "olho", None, "ôlho"),
        (None, "gosto", "de", "gósto"),
        (None, "gosto", None, "gôsto"),
        ("me", "interesse", None, "interésse"),
        ("muito", "interesse", None, "interêsse"),
        ("não", "para", None, "pára"),
        ("que", "para", "mim", "pâra"),
        ("a", "colher", None, "colhér"),
        ("para", "colher", None, "colhêr"),
        ("com", "sede", None, "sêde"),
        ("na", "sede", "do", "séde"),
        ("que", "sobre", None, "sôbre"),
        ("a", "corte", "do", "côrte"),
        ("o", "corte", "de", "córte"),
        (None, "olho", "o", "ólho"),
        (None, "jogo", "de", "jôgo"),
        ("e", "olho", "os", "ólho"),
        ("e", "molho", None, "môlho"),
        ("que", "jogo", None, "jôgo"),
        ("o", "esse", None, "ésse"),
        ("do", "ele", "três", "éle"),
        ("que", "ele", "três", "ele"),
    ],
)
def test_the_neighbours_tell(before, word, after, marks):
    assert reading(word, Beside(before, after)) == marks


def test_the_part_of_speech_tells():
    assert reading("jogo", Beside("o"), pos="V") == "jógo"
    assert reading("jogo", Beside("eu"), pos="N") == "jôgo"


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("ele para o carro", True),
        ("quando ela para o motor", True),
        ("o comboio para em aveiro", True),
        ("a máquina para à porta", True),
        ("o condutor para o autocarro", True),
        ("para de chorar", True),
        ("o carro para", True),
        ("a chuva não para de cair", True),
        ("o relógio para e recomeça", True),
        ("com ele para casa", False),
        ("vou com ela para o porto", False),
        ("isto é para ele", False),
        ("o livro para o joão", False),
        ("o comboio para lisboa", False),
        ("ela para mim é uma irmã", False),
        ("para de manhã", False),
        ("o presente do pai para o filho", False),
        ("serve para cortar", False),
        ("para já", False),
    ],
)
def test_what_stops_and_what_is_for_somebody(text, stops):
    words = text.split()
    place = words.index("para")
    near = [words[i] if 0 <= i < len(words) else None for i in (place - 1, place + 1, place - 2, place + 2)]
    assert reading("para", Beside(*near)) == ("pára" if stops else "pâra")
