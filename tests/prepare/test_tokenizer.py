"""The tokenizer of a run is trained on what its decoder writes and on what its encoder hears."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from amalia_mm.data.schema import Record
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.prepare.lines import Line
from amalia_mm.prepare.tokenizer import TokenizerRecipe, parse_recipe, texts_of, train_tokenizer
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.variety import Variety

SENTENCES = [
    "Queria um copo de água, por favor.",
    "Queria um café.",
    "A Rita está a ler na sala.",
    "Dói-me a mão!",
]


def _documents(folder: Path, texts: Sequence[str]) -> Path:
    with ShardWriter(folder) as writer:
        for number, text in enumerate(texts):
            writer.write(Record(f"d{number}", "document", Variety.PT_PT, "", "test", "", "train", text=text))
    return folder


def test_texts_come_as_written_and_as_heard(tmp_path: Path) -> None:
    documents = _documents(tmp_path / "documents", SENTENCES[:1])
    with ShardWriter(tmp_path / "paths") as writer:
        writer.write(Line("q", "Que horas são?", "train", answer="São duas.").record())
        writer.write(Line("s", "sim", "train").record())
    texts = list(texts_of([documents, tmp_path / "paths"], 100))
    assert texts[:2] == [SENTENCES[0], "queria um copo de água por favor"]
    assert texts[2:] == ["que horas são", "São duas.", "são duas", "sim"]


def test_no_more_records_are_read_than_asked_for(tmp_path: Path) -> None:
    folder = _documents(tmp_path / "documents", [f"palavra{number}" for number in range(100)])
    assert list(texts_of([folder], 4)) == ["palavra0", "palavra25", "palavra50", "palavra75"]


def test_a_frequent_word_is_one_piece_as_it_is_heard(tmp_path: Path) -> None:
    folder = _documents(tmp_path / "documents", ["Queria água."] * 50 + SENTENCES)
    trained = train_tokenizer(TokenizerRecipe((folder,), 350, tmp_path / "tokenizer"))
    assert trained.vocab_size == 350
    assert len(trained.encode("queria")) == 1
    assert all(trained.decode(trained.encode(sentence)) == sentence for sentence in SENTENCES)


def test_the_same_text_gives_the_same_tokenizer_and_replaces_the_old_one(tmp_path: Path) -> None:
    folder = _documents(tmp_path / "documents", SENTENCES * 5)
    trained = train_tokenizer(TokenizerRecipe((folder,), 350, tmp_path / "tokenizer"))
    assert Tokenizer.load(tmp_path / "tokenizer").fingerprint == trained.fingerprint
    assert (
        train_tokenizer(TokenizerRecipe((folder,), 350, tmp_path / "tokenizer")).fingerprint
        == trained.fingerprint
    )
    assert {path.name for path in tmp_path.iterdir()} == {"documents", "tokenizer"}


def test_a_folder_that_is_no_shards_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        train_tokenizer(TokenizerRecipe((tmp_path / "nowhere",), 512, tmp_path / "tokenizer"))
    assert not (tmp_path / "tokenizer").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shards": "one/folder"}, "shards: found 'one/folder'; wanted a list"),
        ({"shards": []}, "shards: found []"),
        ({"shards": [3]}, "shards: found [3]"),
        ({"vocab_size": "many"}, "vocab_size: found 'many'"),
        ({"vocab_size": None}, "vocab_size: found None"),
        ({"output": None}, "output: found None"),
        ({"vocabulary": 5}, "vocabulary: found 'an unknown field'"),
    ],
)
def test_a_bad_recipe_names_its_field(change: dict[str, object], told: str) -> None:
    values = {"shards": ["a"], "vocab_size": 512, "output": "t"} | change
    with pytest.raises(InputError) as error:
        parse_recipe(values, "recipe.yaml")
    assert str(error.value).startswith(f"recipe.yaml: {told}")


def test_a_recipe_is_read(tmp_path: Path) -> None:
    recipe = parse_recipe({"shards": ["a", "b"], "vocab_size": 512, "output": "t"}, "recipe.yaml")
    assert recipe == TokenizerRecipe((Path("a"), Path("b")), 512, Path("t"))
