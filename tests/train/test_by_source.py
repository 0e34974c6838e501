"""Losses of each source and shares of varieties: sums that add up to the whole."""

from __future__ import annotations

import pytest
import torch

from amalia_mm.batch import IGNORE, Example, TextBatch
from amalia_mm.data.collate import Item, collate_text
from amalia_mm.data.visits import source_names
from amalia_mm.text.chat import Rendered
from amalia_mm.train.by_source import by_source, shares
from amalia_mm.train.losses import token_nll
from amalia_mm.variety import Variety


def _item(num_tokens: int, source: int, variety: Variety) -> Item:
    example = Example("r", "text", variety, "", "s", text="x")
    ids = list(range(1, num_tokens + 1))
    rendered = Rendered(ids, [True] * num_tokens, [False] * num_tokens)
    return Item(example, rendered, source=source, where=f"shard.tar: record {source}")


def _batch() -> TextBatch:
    rows = (
        (_item(3, 0, Variety.PT_PT), _item(2, 2, Variety.PT_BR)),
        (_item(1, 0, Variety.PT_PT),),
    )
    return collate_text(rows, source_names=("a", "b", "c"))


def test_the_losses_of_all_sources_add_up_and_a_source_that_is_not_there_counts_nothing() -> None:
    torch.manual_seed(0)
    batch = _batch()
    loss = token_nll(torch.randn(2, 5, 4), torch.randn(8, 4), batch.labels)
    terms = by_source(batch, loss)
    assert {name: float(term.count) for name, term in terms.items()} == {"nll_a": 2, "nll_b": 0, "nll_c": 1}
    assert sum(float(term.sum) for term in terms.values()) == pytest.approx(float(loss.sum))
    assert float(terms["nll_c"].sum) == pytest.approx(float(loss.each[0, 3]))


def test_varieties_and_padding_are_counted_in_tokens() -> None:
    found = {name: (float(term.sum), float(term.count)) for name, term in shares(_batch()).items()}
    assert found == {
        "share_pt-PT": (4, 6),
        "share_pt-BR": (2, 6),
        "share_other": (0, 6),
        "share_unknown": (0, 6),
        "share_padding": (4, 10),
    }


def test_a_batch_of_nothing_is_of_no_source() -> None:
    batch = collate_text((), source_names=("a",))
    assert batch.labels.tolist() == [[IGNORE]]
    loss = token_nll(torch.zeros(1, 1, 4), torch.zeros(8, 4), batch.labels)
    assert [(float(t.sum), float(t.count)) for t in by_source(batch, loss).values()] == [(0, 0)]
    assert float(shares(batch)["share_padding"].sum) == 1


def test_folders_of_one_name_keep_their_whole_path() -> None:
    assert source_names(["x/a", "y/a", "z/b"]) == ("x/a", "y/a", "b")
