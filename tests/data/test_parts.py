"""Conversations longer than a row: split before questions, refused, or cut, as configured, and never in silence."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amalia_mm.batch import IGNORE, TextBatch, Turn
from amalia_mm.data.module import TextData
from amalia_mm.data.parts import split_turns
from amalia_mm.data.reader import StaleCountsError
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.text.chat import render
from amalia_mm.text.chat_format import ChatFormat
from amalia_mm.text.tokenizer import Tokenizer

ROW_TOKENS = 80
SYSTEM = Turn("system", "fala com a avó")
WORDS = ("gato", "sopa", "cozinha", "chove", "ninguém", "autocarro", "manhã", "centro", "saúde", "preto")


def exchange(word: str, num_words: int = 3) -> tuple[Turn, Turn]:
    return Turn("user", f"o {word} hoje"), Turn("assistant", " ".join([word] * num_words))


SHORT = [exchange(word) for word in WORDS[:4]]
LONG = (SYSTEM, *(turn for word in WORDS for turn in exchange(word, 6)))
HALF = (*exchange("fora"), *exchange("tarde", 200), *exchange("fala"))
BOOK = "chove muito " * 100
HOPELESS = exchange("come", 200)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory, fields: Any) -> Path:
    folder = tmp_path_factory.mktemp("chats")
    conversations = {
        **{f"s{i}": turns for i, turns in enumerate(SHORT)},
        "long": LONG,
        "half": HALF,
        "hopeless": HOPELESS,
    }
    with ShardWriter(folder) as writer:
        for name, turns in conversations.items():
            said = [{"role": turn.role, "text": turn.text} for turn in turns]
            writer.write(fields(id=name, text=None, turns=said, task="chat"))
        writer.write(fields(id="book", text=BOOK))
    return folder


def data(chats: Path, tokenizer_folder: Path, **changes: Any) -> TextData:
    arguments: dict[str, Any] = {"row_tokens": ROW_TOKENS, "rows_per_batch": 2, "num_workers": 0}
    arguments |= {"max_bad_fraction": 0.5}
    arguments |= {"shards": {str(chats): 1.0}, "tokenizer": str(tokenizer_folder)}
    made = TextData(**(arguments | changes))
    made.prepare_data()
    made.setup("fit")
    return made


def epoch(made: TextData) -> list[TextBatch]:
    steps, _ = made._steps(made.shards, made.seed)
    return list(islice(made.train_dataloader(), steps.order.num_batches(0)))


def documents(batches: list[TextBatch]) -> list[tuple[list[int], list[int]]]:
    """The ids and labels of every document of every row, as packed."""
    found = []
    for batch in batches:
        for ids, labels, numbers, positions in zip(
            batch.ids.tolist(),
            batch.labels.tolist(),
            batch.documents.tolist(),
            batch.positions.tolist(),
            strict=True,
        ):
            for number in range(1, max(numbers) + 1):
                places = [place for place, own in enumerate(numbers) if own == number]
                assert [positions[place] for place in places] == list(range(len(places)))
                found.append(([ids[place] for place in places], [labels[place] for place in places]))
    return found


def by_hand(
    tokenizer: Tokenizer, *conversations: tuple[Turn, ...]
) -> Counter[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Ids and labels as written by hand: the label of a position is what comes next, if the assistant says it."""
    found = []
    for turns in conversations:
        rendered = render(turns, tokenizer)
        targets = [i if loss else IGNORE for i, loss in zip(rendered.ids, rendered.has_loss, strict=True)]
        found.append((tuple(rendered.ids), (*targets[1:], IGNORE)))
    return Counter(found)


def conversations_of(batches: list[TextBatch], tokenizer: Tokenizer) -> Counter[Any]:
    opened = [
        (tuple(ids), tuple(labels)) for ids, labels in documents(batches) if tokenizer.im_start_id in ids
    ]
    return Counter(opened)


def test_it_is_split_before_questions_and_no_answer_is_lost(chats, tokenizer_folder, tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        batches = epoch(data(chats, tokenizer_folder))
    found = conversations_of(batches, tokenizer)
    # Every part holds as many exchanges as fit: found here with another arithmetic than the code's.
    parts, part = [], (SYSTEM,)
    for question, answer in zip(LONG[1::2], LONG[2::2], strict=True):
        if len(render((*part, question, answer), tokenizer)) > ROW_TOKENS:
            parts, part = [*parts, part], (SYSTEM,)
        part = (*part, question, answer)
    parts.append(part)
    assert len(parts) > 1
    assert found == by_hand(tokenizer, *SHORT, *parts, HALF[:2], HALF[4:])
    assert all(batch.ids.shape[1] <= ROW_TOKENS for batch in batches)
    assert "3 of 8 records are conversations longer than a row of 80 tokens" in caplog.text
    assert "2 of 8 records left out" in caplog.text, "the two exchanges that fit no row"
    book = [ids for ids, _ in documents(batches) if tokenizer.im_start_id not in ids]
    assert len(book) > 1, "a document is cut wherever a row ends"


def test_it_is_refused(chats, tokenizer_folder, tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        found = conversations_of(epoch(data(chats, tokenizer_folder, too_long="refuse")), tokenizer)
    assert found == by_hand(tokenizer, *SHORT)
    assert "3 of 8 records left out" in caplog.text
    assert "turns: found too long a conversation; wanted at most 80 tokens" in caplog.text


def test_it_is_cut_where_that_is_wanted_and_it_is_said(chats, tokenizer_folder, tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        batches = epoch(data(chats, tokenizer_folder, too_long="cut"))
    learned = sum(label != IGNORE for _, labels in documents(batches) for label in labels)
    whole = by_hand(tokenizer, *SHORT, LONG, HALF, HOPELESS)
    book = len(tokenizer.encode(BOOK)) + 1
    assert learned == sum(label != IGNORE for _, labels in whole for label in labels) + book
    assert "3 of 8 records" in caplog.text and "they are cut where rows end" in caplog.text


@pytest.mark.parametrize(("too_long", "num_bad"), [("split", 2), ("refuse", 3)])
def test_more_than_are_allowed_stop_the_run_and_one_is_named(chats, tokenizer_folder, too_long, num_bad):
    made = data(chats, tokenizer_folder, too_long=too_long, max_bad_fraction=0.0)
    with pytest.raises(
        InputError, match=rf"bad records: found {num_bad} of 8 in .*example .*record 0000000\d: turns"
    ):
        made.train_dataloader()


def test_what_the_decoder_cannot_read_is_too_long_too(chats, tokenizer_folder, tokenizer):
    made = data(chats, tokenizer_folder, max_positions=60)
    assert all(len(ids) <= 60 for ids, _ in documents(epoch(made)))


def test_the_second_run_reads_the_sidecar_and_sees_the_same(chats, tokenizer_folder, tokenizer):
    once = epoch(data(chats, tokenizer_folder))
    (sidecar,) = chats.glob(f"tokens-*-parts-{ROW_TOKENS}.npy")
    written = sidecar.stat().st_mtime_ns
    again = epoch(data(chats, tokenizer_folder))
    assert sidecar.stat().st_mtime_ns == written
    assert all((one.ids == two.ids).all() for one, two in zip(once, again, strict=True))


def test_a_sidecar_of_other_parts_is_noticed(chats, tokenizer_folder):
    data(chats, tokenizer_folder)
    (sidecar,) = chats.glob(f"tokens-*-parts-{ROW_TOKENS}.npy")
    table = np.load(sidecar)
    for change, told in (
        ((0, 2, 79), "num_tokens: found .* tokens; wanted 79"),
        ((0, 1, 9), "found . parts; wanted part 9"),
    ):
        changed = table.copy()
        row, column, value = change
        changed[row, column] = value
        np.save(sidecar, changed)
        with pytest.raises(StaleCountsError, match=told):
            epoch(data(chats, tokenizer_folder))
    sidecar.write_bytes(b"no table")
    with pytest.raises(InputError, match="wanted the parts of conversations; delete it"):
        data(chats, tokenizer_folder)
    sidecar.unlink()


def test_the_system_turn_of_a_checkpoint_is_counted_in_every_part(tokenizer_folder):
    """Each part begins with it, whether the record says so or not; uncounted, parts did not fit their rows."""
    tokenizer = Tokenizer.load(tokenizer_folder)
    for chat_format in (
        ChatFormat(),
        ChatFormat(system="fala com a avó hoje"),
        ChatFormat(has_bos=False, trims=True),
    ):
        tokenizer.chat_format = chat_format
        for turns in (LONG, LONG[1:], HALF):
            parts, too_long = split_turns(turns, tokenizer, ROW_TOKENS)
            assert all(len(render(part, tokenizer)) <= ROW_TOKENS for part in parts)
            answers = [turn for part in parts for turn in part if turn.role == "assistant"]
            assert len(answers) + len(too_long) == sum(turn.role == "assistant" for turn in turns)
            for length, exchange in zip(too_long, [HALF[2:4]], strict=False):
                system = [turn for turn in turns if turn.role == "system"]
                assert length == len(render([*system, *exchange], tokenizer))


def test_a_folder_without_long_ones_has_no_sidecar(chats, tokenizer_folder):
    before = set(chats.iterdir())
    data(chats, tokenizer_folder, row_tokens=4000)
    assert set(chats.iterdir()) == before


def test_several_sources_are_visited_by_their_weights(chats, documents, tokenizer_folder):
    """A part of a conversation is visited as often as a whole one."""
    made = data(chats, tokenizer_folder, shards={str(chats): 3.0, str(documents): 0.5})
    steps, _ = made._steps(made.shards, 0)
    seen = Counter(
        (ref.source, ref.record, ref.part, ref.start_token)
        for step in range(steps.order.num_batches(0))
        for row in steps.order.batch(step)
        for ref in row
    )
    of_chats = [count for (source, *_), count in seen.items() if source == 0]
    assert set(of_chats) == {3}
    assert len({record for source, record, *_ in seen if source == 1}) == 60
    parts = sorted((record, part) for source, record, part, _ in seen if source == 0 and part >= 0)
    assert any(one[0] == two[0] for one, two in pairwise(parts))
