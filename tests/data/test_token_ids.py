"""Text that is tokenised once: the batches are those of the text, and the text is not read again."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from amalia_mm.batch import TextBatch
from amalia_mm.data import reader
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.module import TextData
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.token_ids import token_ids_path, write_token_ids
from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import Tokenizer


@pytest.fixture
def folders(documents: Path, fields: Any, tmp_path: Path) -> list[Path]:
    """Documents longer than a row, and conversations with an answer in the middle."""
    shutil.copytree(documents, tmp_path / "documents")
    with ShardWriter(tmp_path / "chats") as writer:
        for number in range(30):
            turns = [
                {"role": role, "text": f"o gato {word} {number}"}
                for role, word in zip(("user", "assistant") * 2, ("come", "fala", "a", "chove"), strict=True)
            ]
            writer.write(fields(id=f"c{number}", text=None, turns=turns, variety="pt-BR"))
    return [tmp_path / "documents", tmp_path / "chats"]


def batches(folders: list[Path], tokenizer_folder: Path, row_tokens: int = 48) -> list[TextBatch]:
    data = TextData(
        {str(folder): 1.0 for folder in folders},
        str(tokenizer_folder),
        row_tokens=row_tokens,
        rows_per_batch=4,
        num_workers=0,
        too_long="cut",
    )
    data.prepare_data()
    data.setup("fit")
    return list(islice(data.train_dataloader(), 60))


def test_token_ids_give_the_batches_of_the_text_without_reading_it(
    folders: list[Path], tokenizer_folder: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batches(folders, tokenizer_folder)
    counts = [write_token_ids(folder, tokenizer) for folder in folders]
    assert counts[0].num_tokens.max() > 2 * 48, "pieces of a document"
    monkeypatch.setattr(reader, "read_record", None)
    found = batches(folders, tokenizer_folder)
    for one, other in zip(found, wanted, strict=True):
        for name in ("ids", "labels", "documents", "positions", "sources", "varieties"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert (one.record_ids, one.places) == (other.record_ids, other.places)
    assert any((batch.labels == -100).any() for batch in found)


def test_what_is_heard_and_what_is_a_pair_is_refused(
    speech: Path, tmp_path: Path, fields: Any, tokenizer: Tokenizer
) -> None:
    with pytest.raises(InputError, match="record 00000000: found a clip; wanted text alone"):
        write_token_ids(speech, tokenizer)
    with ShardWriter(tmp_path / "pairs") as writer:
        writer.write(fields(version=2, rejected="o gato bebe"))
    with pytest.raises(InputError, match="found a pair of preference"):
        write_token_ids(tmp_path / "pairs", tokenizer)
    assert {path.suffix for path in (tmp_path / "pairs").iterdir()} == {".tar", ".json"}


def test_a_file_that_was_cut_is_named(
    folders: list[Path], tokenizer_folder: Path, tokenizer: Tokenizer
) -> None:
    write_token_ids(folders[0], tokenizer)
    path = token_ids_path(ShardIndex.load(folders[0]), tokenizer)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=rf"{path.name}: found \d+ bytes; wanted \d+ bytes; delete it"):
        batches(folders, tokenizer_folder)
