"""What is recited comes from the text, and never says what is tested on."""

from __future__ import annotations

import json

import pytest

from amalia_mm.cli import main
from amalia_mm.data.index import ShardIndex
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.recited import Withheld, read_withheld, recite

TEXT = """O gato preto dorme na cozinha.
Chove em Portugal desde ontem à noite.
O comboio parte às 8.
A capa do livro é azul e a caneta também.
Costa Rica fica longe, e a costa fica perto.
"""


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "texto.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("said", "is_withheld"),
    [
        ("portugal", True),
        ("chove em portugal", True),
        ("portugalete", False),
        ("costa rica", True),
        ("a costa rica é verde", True),
        ("a costa é rica", False),
        ("é", True),  # a letter's name, as a whole line
        ("o livro é azul", False),  # and not inside one
    ],
)
def test_a_withheld_text_is_found_word_for_word(said, is_withheld):
    assert Withheld(["Portugal", "Costa Rica", "é"]).is_said(words(said)) is is_withheld


def test_no_line_says_what_is_withheld_and_every_word_is_of_the_text(text):
    withheld = Withheld(["preto", "Portugal", "costa rica", "é"])
    recited = recite([text], 300, 0.5, withheld, seed=0)
    assert len(recited.lines) == 300
    assert not any(withheld.is_said(words(line.text)) for line in recited.lines)
    assert {word for line in recited.lines for word in words(line.text)} <= set(words(TEXT))
    assert {len(words(line.text)) for line in recited.lines} >= {1, 2, 3}
    assert recited.notes["withheld: it says what is tested on"] == 3
    assert recited.notes["repeated, or with more than words in letters"] == 1  # the 8
    assert recite([text], 300, 0.5, withheld, seed=0).lines == recited.lines
    assert recite([text], 300, 0.5, withheld, seed=1).lines != recited.lines


def test_every_voice_says_as_many_lines(text):
    voices = [line.voice.name for line in recite([text], 200, 0.5, Withheld([]), seed=0).lines if line.voice]
    counts = [voices.count(name) for name in set(voices)]
    assert max(counts) - min(counts) <= 1


def test_only_what_is_not_for_training_is_withheld(tmp_path):
    path = tmp_path / "m.jsonl"
    rows = [{"text": "um gato", "split": "train"}, {"text": "um cão", "split": "test"}, {"text": "um rato"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    withheld = read_withheld([path])
    assert [withheld.is_said(words(row["text"])) for row in rows] == [False, True, True]
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(InputError, match="no text that is not for training"):
        read_withheld([path])


def test_recited_lines_become_shards(text, tmp_path, capsys):
    folder = tmp_path / "recited"
    assert main(["shards", "recite", str(text), "--output", str(folder), "--clips", "6"]) == 0
    index = ShardIndex.load(folder)
    assert len(index) == 6
    assert (index.num_samples > 4000).all()
    assert "6 records" in capsys.readouterr().out
