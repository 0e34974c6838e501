"""Documents in rows: nothing lost, no row too long, little left empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.data.packing import pack_rows, split_documents
from amalia_mm.prepare.corpora import read_text
from amalia_mm.text.chat import render_document
from amalia_mm.text.tokenizer import Tokenizer

ROW_TOKENS = 16


def test_a_long_document_by_hand() -> None:
    """33 tokens are 32 inputs with a target: two pieces; the last token is only a target."""
    document, start, size = split_documents(np.array([33, 3, 34]), ROW_TOKENS)
    assert document.tolist() == [0, 0, 1, 2, 2, 2]
    assert start.tolist() == [0, 16, 0, 0, 16, 32]
    assert size.tolist() == [16, 16, 3, 16, 16, 2]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30))
def test_every_token_but_the_first_is_a_target_once(num_tokens: list[int]) -> None:
    document, start, size = split_documents(np.array(num_tokens), ROW_TOKENS)
    assert size.min() >= 1 and size.max() <= ROW_TOKENS
    for number, length in enumerate(num_tokens):
        targets = [
            position + 1
            for d, first, count in zip(document, start, size, strict=True)
            for position in range(first, first + count)
            if d == number and position + 1 < length
        ]
        assert targets == list(range(1, length))


@given(st.lists(st.integers(1, ROW_TOKENS), min_size=1, max_size=80))
def test_rows_are_never_too_long_and_all_used(lengths: list[int]) -> None:
    row_of = pack_rows(np.array(lengths), ROW_TOKENS)
    used = np.bincount(row_of, weights=lengths)
    assert used.min() > 0
    assert used.max() <= ROW_TOKENS
    # Had any two rows room for each other, the later one would not have been opened.
    fullness = np.sort(used)
    assert len(used) == 1 or fullness[0] + fullness[1] > ROW_TOKENS


def test_short_documents_leave_almost_nothing_empty() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 20_000)
    num_rows = pack_rows(lengths, 256).max() + 1
    assert lengths.sum() / (num_rows * 256) > 0.995


@pytest.fixture(scope="module")
def real_lengths(shared_data: Path) -> np.ndarray:
    """Tokens of newspaper sentences, a novel's paragraphs and whole laws."""
    text = shared_data / "text"
    found = [
        written for name in ("bosque/bosque_pt-PT.tsv", "eltec") for written in read_text(text / name)[0]
    ]
    documents = [written.text for written in found[:5500]]
    documents += [path.read_text() for path in sorted(text.glob("legislacao/**/*.md"))[:3]]
    tokenizer = Tokenizer.train(documents[:500], 1000)
    return np.array([len(render_document(document, tokenizer)) for document in documents])


@pytest.mark.parametrize("row_tokens", [512, 2048])
def test_real_documents_fill_their_rows(
    real_lengths: np.ndarray, row_tokens: int, record_property: Callable[[str, object], None]
) -> None:
    """98 of 100 positions of a row are read, whatever the lengths of the documents."""
    _, _, pieces = split_documents(real_lengths, row_tokens)
    num_rows = int(pack_rows(pieces, row_tokens).max()) + 1
    fill = pieces.sum() / (num_rows * row_tokens)
    record_property("fill", float(fill))
    assert fill >= 0.98


def test_the_work_grows_with_the_lengths_not_the_documents() -> None:
    lengths = np.random.default_rng(0).integers(1, 2_049, 300_000)
    row_of = pack_rows(lengths, 2_048)
    assert np.bincount(row_of, weights=lengths).max() <= 2_048


def test_lengths_that_cannot_be_packed_are_named() -> None:
    with pytest.raises(ValueError, match="pieces of 3 to 17 tokens for rows of 16"):
        pack_rows(np.array([3, 17]), ROW_TOKENS)
    assert len(pack_rows(np.array([], dtype=np.int64), ROW_TOKENS)) == 0
