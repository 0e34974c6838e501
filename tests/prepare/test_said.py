"""What recordings say is kept apart: neither side tests what the other one teaches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amalia_mm.errors import InputError
from amalia_mm.prepare.apart import apart
from amalia_mm.prepare.corpus import Corpus, build_corpus
from amalia_mm.prepare.own_text import HELD_OUT, read_own_text
from amalia_mm.prepare.said import Said


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return build_corpus(smoke=True)


@pytest.mark.parametrize(
    ("said", "text", "is_in"),
    [
        ("O gato dorme.", "Ontem,\no gato\ndorme na cadeira.", True),
        ("Bom dia a todos. O gato dorme.", "E o gato dorme!", True),
        ("O gato dorme.", "O gato preto dorme.", False),
        ("O gato dorme na cadeira.", "O gato dorme no sofá. O gato dorme na cadeira.", True),
        ("Sim.", "Sim, o gato dorme.", False),
        ("", "O gato dorme.", False),
    ],
)
def test_a_sentence_is_found_word_for_word_wherever_lines_break(said: str, text: str, is_in: bool) -> None:
    assert Said([said]).is_in(text) == is_in


def test_the_pieces_of_a_text_that_say_it_are_held_out_and_no_others(tmp_path: Path) -> None:
    lines = [f"Aqui vai a linha com o nome {a}{b} e mais nada de novo." for a in "bcdfg" for b in "aeiou" * 3]
    lines.insert(40, "Bom dia, senhora Rita.\nHoje o autocarro vem tarde.")
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "\n".join(lines)}), encoding="utf-8")
    whole = read_own_text([tmp_path / "t.jsonl"])
    assert len(whole.documents["train"]) > 2, "the text should come in pieces, to train on"
    said = Said(["Bom dia, senhora Rita. Hoje o autocarro vem tarde."])
    found = read_own_text([tmp_path / "t.jsonl"], tested=said)
    assert found.notes[HELD_OUT] == len(found.documents["test"]) == 1
    assert len(found.documents["train"]) == len(whole.documents["train"]) - 1
    assert not any("autocarro" in one.text for one in found.documents["train"])
    assert not any("autocarro" in line.text for line in found.sentences["train"])


def test_what_is_said_in_training_is_no_test_sentence(tmp_path: Path) -> None:
    rows = [
        {"text": f"O {a} e o {b} dormem aqui."} for a in ("gato", "cão", "rato", "boi") for b in "abcdefgh"
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tested = read_own_text([tmp_path / "t.jsonl"]).sentences["test"]
    assert tested
    found = read_own_text([tmp_path / "t.jsonl"], trained=Said([tested[0].text]))
    assert [line.text for line in found.sentences["test"]] == [line.text for line in tested[1:]]


def test_the_built_in_corpus_neither_teaches_nor_tests_it(corpus: Corpus) -> None:
    long = [s.text for s in corpus.train if len(s.text.split()) > 3]
    learned, measured = long[0], next(s.text for s in corpus.test_seen if len(s.text.split()) > 3)
    found = apart(corpus, trained=Said([measured]), tested=Said([learned]))
    assert learned not in {s.text for s in found.train}
    assert measured not in {s.text for s in found.test_seen}
    assert len(found.train) < len(corpus.train) and len(found.test_seen) < len(corpus.test_seen)
    assert apart(corpus, Said([]), Said([])) is corpus


def test_text_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Olá?"}, {"role": "assistant", "content": "palavra " * 300}]
    (tmp_path / "t.jsonl").write_text(json.dumps({"messages": turns}), encoding="utf-8")
    with pytest.raises(InputError, match=r"t\.jsonl: found only longer conversations; wanted .* 1150 bytes"):
        read_own_text([tmp_path / "t.jsonl"])
