"""The sidecar of token counts: right, kept, and never read for another tokenizer or other shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from amalia_mm.data import tokens
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.tokens import index_tokens, load_tokens, token_counts_path
from amalia_mm.errors import InputError
from amalia_mm.text.chat import render_document
from amalia_mm.text.tokenizer import Tokenizer

Fields = Callable[..., dict[str, object]]
TURNS = [
    {"role": "user", "text": "", "audio": True},
    {"role": "assistant", "text": "São oito.", "audio": False},
]


@pytest.fixture
def folder(tmp_path: Path, fields: Fields) -> Path:
    with ShardWriter(tmp_path / "shards") as writer:
        writer.write(fields(id="document", text="o gato come"))
        writer.write(fields(id="path", text=None, turns=TURNS, task="answer", spoken="que horas são"))
        writer.write(fields(id="heard", text="O gato!", task="transcribe"))
    return tmp_path / "shards"


def test_counts_are_those_of_the_rendered_text(folder: Path, tokenizer: Tokenizer) -> None:
    counts = index_tokens(folder, tokenizer)
    assert counts.num_tokens[0] == len(render_document("o gato come", tokenizer))
    spoken = [len(tokenizer.encode(text)) for text in ("que horas são", "o gato")]
    assert counts.num_spoken.tolist() == [-1, *spoken]
    # bos, two turns of im_start, role, newline ... im_end, newline; no placeholder is counted.
    assert counts.num_tokens[1] > len(tokenizer.encode("São oito.")) + 5


def test_the_second_time_nothing_is_read(
    folder: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index_tokens(folder, tokenizer)
    monkeypatch.setattr(tokens, "read_record", None)
    np.testing.assert_array_equal(index_tokens(folder, tokenizer).num_tokens, first.num_tokens)


def test_another_tokenizer_template_or_shard_has_another_sidecar(
    folder: Path, documents: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = ShardIndex.load(folder)
    other = Tokenizer.train(["o gato come a sopa " * 20, "a avó fala com ela"], 340)
    names = {token_counts_path(index, tokenizer).name, token_counts_path(index, other).name}
    names.add(token_counts_path(ShardIndex.load(documents), tokenizer).name)
    monkeypatch.setattr(tokens, "TEMPLATE", "another")
    names.add(token_counts_path(index, tokenizer).name)
    assert len(names) == 4
    with pytest.raises(InputError, match="tokens-.*npy: found .*amalia shards index"):
        load_tokens(index, other)


def test_a_damaged_sidecar_is_named(folder: Path, tokenizer: Tokenizer) -> None:
    index_tokens(folder, tokenizer)
    path = token_counts_path(ShardIndex.load(folder), tokenizer)
    np.save(path, np.zeros((2, 7), dtype=np.int64))
    with pytest.raises(InputError, match=r"counts of shape \(2, 7\) for 3 records"):
        index_tokens(folder, tokenizer)


def test_a_record_that_cannot_be_read_counts_nothing_here(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    index = ShardIndex.load(copied)
    path = copied / "shard-000000.tar"
    content = bytearray(path.read_bytes())
    content[int(index.integers["json_offset"][1])] = ord("x")
    path.write_bytes(content)
    assert index_tokens(copied, tokenizer).num_tokens.tolist()[1] == 0
