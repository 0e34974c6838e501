"""A CTC vocabulary is made of what is said: it has every letter, and spends the rest on what saves most."""

from __future__ import annotations

from pathlib import Path

import pytest

from amalia_mm.data.schema import Record
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.ctc_vocabulary import (
    LETTERS,
    OTHERS,
    make_ctc_vocabulary,
    said_words,
    write_vocabulary,
)
from amalia_mm.prepare.lines import Line
from amalia_mm.text.ctc_vocabulary import read_ctc_vocabulary
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.variety import Variety

TEXTS = [
    "Queria um copo de água, por favor.",
    "A Rita está a ler na sala; o João está a comer na cozinha.",
    "Dói-me a mão! Às 12,50 € por dia, nº 3.",
    "Não há comboio para Coimbra antes das nove menos um quarto.",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 4, 410)


@pytest.fixture(scope="module")
def smallest(tokenizer) -> int:
    """A space, letters and signs, and the bytes of the characters that have no entry and of all others."""
    entries = {tokenizer.token(number) for number in range(tokenizer.vocab_size)}
    characters = sum(each.isascii() or each in entries for each in LETTERS + OTHERS)
    return 1 + characters + 64 + 51


@pytest.fixture(scope="module")
def words() -> dict[str, int]:
    return {word: 1 for text in TEXTS for word in spoken_form(text).split()} | {"a": 9, "está": 5}


def test_letters_come_first_and_the_size_is_met(tokenizer, words, smallest):
    made = make_ctc_vocabulary(tokenizer, words, smallest)
    assert len(made.tokens) == smallest
    text = " ".join(LETTERS + OTHERS)
    assert made.decode(made.encode(text)) == text and {"▁", "ã", "z", "0"} <= set(made.tokens)
    larger = make_ctc_vocabulary(tokenizer, words, smallest + 40)
    assert len(larger.tokens) == smallest + 40
    assert set(made.tokens) < set(larger.tokens)


def test_more_classes_write_words_with_fewer(tokenizer, words, smallest):
    def per_word(size):
        made = make_ctc_vocabulary(tokenizer, words, size)
        return sum(times * len(made.encode(word)) for word, times in words.items()) / sum(words.values())

    lengths = [per_word(smallest + more) for more in (0, 10, 25, 40)]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 1.5 * lengths[-1]
    made = make_ctc_vocabulary(tokenizer, words, smallest)
    alone = {each: 1 if each in made.tokens else len(each.encode()) for word in words for each in word}
    letters = sum(times * (1 + sum(map(alone.__getitem__, word))) for word, times in words.items())
    assert lengths[0] == pytest.approx(letters / sum(words.values())), "at the least, letters are classes"


def test_what_is_said_most_is_one_class(tokenizer, words, smallest):
    made = make_ctc_vocabulary(tokenizer, words, smallest + 20)
    assert len(made.encode("a")) == len(made.encode("está")) == 1


def test_the_same_words_give_the_same_classes(tokenizer, words, smallest):
    turned = dict(reversed(words.items()))
    sizes = (smallest + 13, smallest + 40)
    assert [make_ctc_vocabulary(tokenizer, words, size).tokens for size in sizes] == [
        make_ctc_vocabulary(tokenizer, turned, size).tokens for size in sizes
    ]


def test_a_size_that_cannot_be_is_told_with_what_can(tokenizer, words, smallest):
    for size in (smallest - 1, 410):
        with pytest.raises(
            InputError, match=rf"^size: found {size}; wanted from {smallest}, .* to \d+, which these words"
        ):
            make_ctc_vocabulary(tokenizer, words, size)


class _Letters:
    """A tokenizer without bytes."""

    def __init__(self, entries):
        self.entries = entries
        self.vocab_size = len(entries)

    def token(self, token):
        return self.entries[token]


def test_without_bytes_every_character_must_have_an_entry():
    entries = ["▁", "▁a", "dia", *LETTERS, *OTHERS, "ñ"]
    made = make_ctc_vocabulary(_Letters(entries), {"dia": 1, "ñ": 2}, len(entries) - 1)
    assert "ñ" in made.tokens and made.decode(made.encode("dia ñ")) == "dia ñ"
    with pytest.raises(InputError, match="tokenizer: found no entry for 日"):
        make_ctc_vocabulary(_Letters(entries), {"日": 1}, 70)
    with pytest.raises(InputError, match="tokenizer: found no entry for ã"):
        make_ctc_vocabulary(_Letters([e for e in entries if e != "ã"]), {"dia": 1}, 70)
    with pytest.raises(InputError, match="tokenizer: found no entry ▁"):
        make_ctc_vocabulary(_Letters(entries[1:]), {"dia": 1}, 70)


def _write(folder: Path, *records: Record) -> Path:
    with ShardWriter(folder) as writer:
        for record in records:
            writer.write(record)
    return folder


def _document(text: str) -> Record:
    return Record(text, "document", Variety.PT_PT, "", "test", "", "train", text=text)


def test_words_are_counted_as_they_are_said(tmp_path):
    documents = _write(tmp_path / "documents", _document("Bom dia, Ana. Bom dia!"))
    heard = _write(tmp_path / "heard", Line("q", "Que horas são?", "train", answer="São duas.").record())
    found = said_words([documents, heard])
    assert found["bom"] == 2 and found["são"] == 2 and found["ana"] == 1 and "Ana" not in found


def test_a_command_makes_the_file(tmp_path, amalia, tokenizer, smallest):
    shards = _write(tmp_path / "shards", *map(_document, TEXTS))
    tokenizer.save(tmp_path / "tokenizer")
    output = tmp_path / "made/ctc.json"
    words = ("--tokenizer", tmp_path / "tokenizer", "--shards", shards, "--output", output)
    code, _, err = amalia("ctc-vocabulary", *words, "--size", smallest + 30)
    assert code == 0 and f"{smallest + 30} classes, " in err
    found = read_ctc_vocabulary(output)
    assert found.decode(found.encode("dói-me a mão")) == "dói-me a mão"
    code, _, err = amalia("ctc-vocabulary", *words, "--size", "3")
    assert code == 2 and f"found 3; wanted from {smallest}" in err
    assert read_ctc_vocabulary(output) == found, "what was there stays"


def test_shards_in_which_nothing_is_said_are_told(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    shards = _write(tmp_path / "shards", _document("..."))
    with pytest.raises(InputError, match="shards: found no word"):
        write_vocabulary(tmp_path / "v.json", tmp_path / "tokenizer", [shards], 300, progress=False)
