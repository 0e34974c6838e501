"""Needles in a haystack: they fit, they are where they are said to be, and only one answers the question."""

from __future__ import annotations

import json
import random
import re

import pytest

from amalia_mm.batch import Turn
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.pipeline import count_text_tokens
from amalia_mm.data.schema import Record
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.prepare.needle_shards import write_needles
from amalia_mm.prepare.needles import DEPTHS, NeedleTask, measured_conversations, training_conversations
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.variety import Variety

HAY = [f"A carroça número {number} ficou na aldeia." for number in range(60)]


def count_words(turns):
    return sum(4 + len(turn.text.split()) for turn in turns)


def said_of(question, answer):
    name = re.search(r"Qual é a senha (d[oa] \S+)\?$", question)[1]
    return f"A senha {name} é {answer}"


@pytest.mark.parametrize("num_tokens", [70, 150, 400])
def test_training_conversations_fit_and_each_answer_stands_once_in_the_hay(num_tokens):
    task = NeedleTask(num_tokens, num_needles=4, num_questions=3)
    found = list(training_conversations(task, HAY, count_words, random.Random(1), 40))
    assert len(found) == 40
    lengths = [count_words(turns) for turns in found]
    assert max(lengths) <= num_tokens
    for turns in found:
        assert [turn.role for turn in turns] == ["user", "assistant"] * 3
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            assert turns[0].text.count(said_of(question.text, answer.text)) == 1
    if num_tokens > 100:
        assert min(lengths) < 0.6 * num_tokens, "short ones as well: a model must not learn one length"


def test_a_measured_needle_stands_at_its_depth_in_a_full_haystack():
    task = NeedleTask(400, num_needles=3, num_questions=2)
    for number, turns in enumerate(measured_conversations(task, HAY, count_words, random.Random(1), 10)):
        assert len(turns) == 2
        assert count_words(turns) > 0.85 * 400
        question, answer = turns
        before, _, after = question.text.partition(said_of(question.text, answer.text))
        depth = len(before.split()) / (len(before.split()) + len(after.split()))
        assert depth == pytest.approx(DEPTHS[number % len(DEPTHS)], abs=0.06)


@pytest.mark.parametrize(("num_needles", "most_alike"), [(8, 1), (20, 2)])
def test_measured_passwords_begin_with_different_letters_as_far_as_there_are_any(num_needles, most_alike):
    """Of 500 answers 67 were wrong, and nearly all ended a word as another that begins alike: prato as pato."""
    task = NeedleTask(700, num_needles, num_questions=1)
    for question, _ in measured_conversations(task, HAY, count_words, random.Random(1), 10):
        letters = [word[0] for word in re.findall(r"A senha d[oa] \S+ é (\w+)\.", question.text)]
        assert len(letters) == num_needles
        assert max(map(letters.count, letters)) == most_alike


def test_the_names_of_a_haystack_and_their_numbers_differ():
    task = NeedleTask(400, num_needles=30, num_questions=1)
    (turns,) = training_conversations(task, HAY, count_words, random.Random(3), 1)
    said = re.findall(r"A senha (d[oa] \S+) é (\S+)\.", turns[0].text)
    assert len(said) == len({name for name, _ in said}) == len({word for _, word in said}) == 30


def test_needles_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="num_tokens"):
        next(training_conversations(NeedleTask(20, 4, 2), HAY, count_words, random.Random(0), 1))
    with pytest.raises(InputError, match="num_questions"):
        NeedleTask(100, num_needles=2, num_questions=3)


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    with ShardWriter(folder) as writer:
        for number in range(30):
            text = f"Documento {number}. " + " ".join(HAY[:6])
            record = Record(f"d{number}", "document", Variety.PT_PT, "", "test", "", "train", text=text)
            writer.write(record)
    return folder


def test_shards_and_questions_are_written_and_the_hay_that_is_measured_with_is_not_trained_on(
    documents, toy_data, tmp_path
):
    tokenizer = toy_data / "tokenizer"
    task = NeedleTask(300, num_needles=2, num_questions=1)
    for output in ("one", "two"):
        write_needles(
            tmp_path / output, documents, tokenizer, task, num_train=40, num_test=10, progress=False
        )
    index = ShardIndex.load(tmp_path / "one" / "train")
    assert len(index) == 40
    loaded = Tokenizer.load(tokenizer)
    records = [read_record(index, number, with_audio=False)[0] for number in range(len(index))]
    assert max(count_text_tokens(record, loaded) for record in records) <= 300
    lines = (tmp_path / "one" / "text_test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["kind"] for row in rows[:2]] == [
        "needle in 300 tokens, depth 10%",
        "needle in 300 tokens, depth 30%",
    ]
    trained = " ".join(record.turns[0].text for record in records)
    measured = " ".join(row["question"] for row in rows)
    assert set(re.findall(r"Documento \d+", trained)).isdisjoint(re.findall(r"Documento \d+", measured))
    same = (tmp_path / "two" / "text_test.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == same


def test_a_haystack_without_documents_is_refused(toy_data, tmp_path):
    with ShardWriter(tmp_path / "chat") as writer:
        turns = (Turn("user", "Olá."), Turn("assistant", "Olá."))
        writer.write(Record("c", "chat", Variety.PT_PT, "", "test", "", "train", turns=turns))
    with pytest.raises(InputError, match="documents"):
        write_needles(
            tmp_path / "out",
            tmp_path / "chat",
            toy_data / "tokenizer",
            NeedleTask(300, 2, 1),
            num_train=1,
            num_test=1,
            progress=False,
        )
