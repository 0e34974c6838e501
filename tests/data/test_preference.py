"""Pairs of preference as data: both sides whole in one row, loss where they differ, nothing else taken for a pair."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amalia_mm.batch import IGNORE, PreferenceBatch, TextBatch
from amalia_mm.data.module import TextData
from amalia_mm.data.pipeline import count_text_tokens, to_example, to_item
from amalia_mm.data.preference import PairData
from amalia_mm.data.schema import validate
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import Tokenizer

FIXED = {
    "version": 2,
    "task": "pair",
    "variety": "pt-PT",
    "speaker": "",
    "source": "t",
    "licence": "",
    "split": "train",
}
ASKED = [
    {"role": "user", "text": "o gato"},
    {"role": "assistant", "text": "come a sopa"},
    {"role": "user", "text": "e a avó"},
]


def pair(number: int, chosen: str, rejected: str) -> dict[str, object]:
    turns = [*ASKED, {"role": "assistant", "text": chosen}]
    return {**FIXED, "id": f"p{number}", "turns": turns, "rejected": rejected}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    with ShardWriter(folder) as writer:
        for number in range(9):
            writer.write(pair(number, "come " * (number % 3 + 1) + "sopa", "fala com ela"))
        writer.write({**FIXED, "id": "p9", "text": "o gato come", "rejected": "a sopa fala"})
    return folder


def batches(folder: Path, tokenizer_folder: Path, **arguments: object) -> list[PreferenceBatch]:
    options = {"row_tokens": 300, "rows_per_batch": 2, "num_workers": 0, **arguments}
    data = PairData({str(folder): 1.0}, str(tokenizer_folder), [str(folder)], **options)  # pyright: ignore[reportArgumentType]
    data.prepare_data()
    data.setup()
    return list(data.each_pair_once(str(folder)))


def test_both_sides_differ_only_in_the_last_turn_and_only_it_is_learned(tokenizer: Tokenizer) -> None:
    """An earlier answer with a label would count on both sides, and hide which one the model prefers."""
    record = validate(pair(0, "come a sopa", "fala com ela"), "x")
    item = to_item(to_example(record, None, where="x", tokenizer=tokenizer), tokenizer)
    assert item.rejected is not None
    chosen, rejected = item.rendered, item.rejected
    learned = [[t for t, loss in zip(r.ids, r.has_loss, strict=True) if loss] for r in (chosen, rejected)]
    assert [tokenizer.decode(ids[:-1]) for ids in learned] == ["come a sopa", "fala com ela"]
    assert [ids[-1] for ids in learned] == [tokenizer.im_end_id] * 2
    first = chosen.has_loss.index(True)
    assert chosen.ids[:first] == rejected.ids[:first]
    assert count_text_tokens(record, tokenizer) == len(chosen) + len(rejected)


def test_a_row_holds_whole_pairs_side_by_side(folder: Path, tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder)
    found: dict[str, tuple[str, ...]] = {}
    for batch in batches(folder, tokenizer_folder):
        ids = iter(batch.text.record_ids)
        for row, documents in enumerate(batch.text.documents):
            for first in range(1, int(documents.max()) + 1, 2):
                sides = [batch.text.labels[row][documents == first + side] for side in (0, 1)]
                texts = (tokenizer.decode(side[side != IGNORE][:-1].tolist()) for side in sides)
                found[next(ids)] = tuple(texts)
        assert next(ids, None) is None
    assert len(found) == 10
    assert found["p1"] == ("come come sopa", "fala com ela")
    assert found["p9"] == ("o gato come", "a sopa fala")


def test_a_pair_that_fits_no_row_is_left_out_and_counted_never_cut(
    folder: Path, tokenizer_folder: Path
) -> None:
    with pytest.raises(InputError, match="too long a pair"):
        batches(folder, tokenizer_folder, row_tokens=60)
    some = batches(folder, tokenizer_folder, row_tokens=60, max_bad_fraction=1.0)
    assert {i for batch in some for i in batch.text.record_ids} == {"p9"}


def test_a_side_longer_than_the_decoder_reads_is_a_bad_record(folder: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(InputError, match=r"a side of \d+ tokens; wanted at most 20"):
        batches(folder, tokenizer_folder, max_positions=20)


def test_pairs_are_not_learned_as_text_nor_text_as_pairs(
    toy_data: Path, folder: Path, tokenizer_folder: Path
) -> None:
    """The chosen side alone would be learned as if nobody had rejected anything, without a word."""
    data = TextData({str(folder): 1.0}, str(tokenizer_folder), row_tokens=300, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    with pytest.raises(InputError, match="a pair of preference; wanted text"):
        next(iter(data.train_dataloader()))
    with pytest.raises(InputError, match="no rejected side"):
        batches(toy_data / "shards/chat", toy_data / "tokenizer")


def test_validation_has_pairs_and_then_conversations(toy_data: Path) -> None:
    pairs, chat = (str(toy_data / "shards" / name) for name in ("pairs", "chat"))
    data = PairData({pairs: 1.0}, str(toy_data / "tokenizer"), [pairs], [chat], num_workers=0)
    data.prepare_data()
    data.setup()
    first, second = data.val_dataloader()
    assert all(isinstance(batch, PreferenceBatch) for batch in first)
    conversations = [batch for batch in second if isinstance(batch, TextBatch)]
    assert sum(len(set(batch.record_ids)) for batch in conversations) == 40


def test_training_batches_are_the_same_again(folder: Path, tokenizer_folder: Path) -> None:
    one, two = (batches(folder, tokenizer_folder) for _ in range(2))
    assert [b.text.record_ids for b in one] == [b.text.record_ids for b in two]
    assert all(torch.equal(a.text.ids, b.text.ids) for a, b in zip(one, two, strict=True))
