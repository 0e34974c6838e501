"""Haystacks out of the documents of shards: shards to train on, and a file to measure with.

It knows records and folders; what a needle is stands in `needles.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from amalia_mm.batch import Turn
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.pipeline import count_text_tokens
from amalia_mm.data.schema import Record, Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.prepare.needles import DEPTHS, NeedleTask, measured_conversations, training_conversations
from amalia_mm.prepare.sentences import split_sentences
from amalia_mm.prepare.staging import staged, write_jsonl, write_summary
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.variety import Variety

TurnsT = TypeVar("TurnsT")
SOURCE = "needles"
SUMMARY = "needles.json"
PRODUCTS = ("train", "val", "text_test.jsonl", SUMMARY)
_MOST_HAY = 200_000
"""Sentences kept in memory."""


def write_needles(
    output: Path,
    haystack: Path,
    tokenizer: Path,
    task: NeedleTask,
    *,
    num_train: int,
    num_test: int,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Write `train`, `val` (a twentieth as many), `text_test.jsonl` and `needles.json` under `output`.

    The same arguments give the same files. `text_test.jsonl` is what `amalia evaluate --data` reads; its kinds are
    the depths at which the needles stand.

    Args:
        output: The folder; what an earlier call wrote there is replaced when everything is ready.
        haystack: A folder of shards with documents; every tenth document is hay of the measured conversations only.
        tokenizer: Counts the tokens.
        task: How long, and how many needles.
        num_train: Conversations to train on.
        num_test: Conversations to measure with.
        seed: Another seed gives others.
        progress: Show a bar on stderr.

    Raises:
        InputError: There are too few documents, the needles do not fit, or the disk is full.
    """
    loaded = Tokenizer.load(tokenizer)
    trained, measured = _hay(haystack, task)
    count = partial(_count, loaded)
    variety = Variety.PT_PT

    def record(turns: Sequence[Turn], split: Split, number: int) -> Record:
        identity = f"{split}-needle-{task.num_tokens}-{number:06d}"
        return Record(identity, "chat", variety, "", SOURCE, "", split, turns=tuple(turns))

    splits: tuple[tuple[Split, int], ...] = (("train", num_train), ("val", max(1, num_train // 20)))
    with staged(output, ".needles", PRODUCTS) as staging:
        for split, num in splits:
            rng = random.Random(f"needles {split} {seed}")
            conversations = training_conversations(task, trained, count, rng, num)
            with ShardWriter(staging / split) as writer:
                for number, turns in enumerate(_shown(conversations, num, split, progress)):
                    writer.write(record(turns, split, number))
        rng = random.Random(f"needles test {seed}")
        asked = measured_conversations(task, measured, count, rng, num_test)
        write_jsonl(
            staging / "text_test.jsonl",
            (
                {
                    "question": question.text,
                    "answer": answer.text,
                    "kind": f"needle in {task.num_tokens} tokens, depth {DEPTHS[number % len(DEPTHS)]:.0%}",
                }
                for number, (question, answer) in enumerate(_shown(asked, num_test, "test", progress))
            ),
        )
        summary = {"task": asdict(task), "haystack": str(haystack), "tokenizer": loaded.fingerprint}
        write_summary(staging / SUMMARY, summary | {"train": num_train, "test": num_test, "seed": seed})


def _shown(items: Iterable[TurnsT], num: int, what: str, progress: bool) -> Iterable[TurnsT]:
    return tqdm(items, total=num, desc=f"needles, {what}", unit="text", disable=not progress)


def _count(tokenizer: Tokenizer, turns: Sequence[Turn]) -> int:
    record = Record("counted", "chat", Variety.PT_PT, "", SOURCE, "", "train", turns=tuple(turns))
    return count_text_tokens(record, tokenizer)


def _hay(haystack: Path, task: NeedleTask) -> tuple[list[str], list[str]]:
    """Return the sentences of the documents to train on, and of those to measure with."""
    index = ShardIndex.load(haystack)
    trained: list[str] = []
    measured: list[str] = []
    for number in range(len(index)):
        text = read_record(index, number, with_audio=False)[0].text
        if text is not None and len(trained) < _MOST_HAY:
            (measured if number % 10 == 0 else trained).extend(split_sentences(text))
    if not trained or not measured:
        found, wanted = f"{len(trained) + len(measured)} sentences", "at least ten documents"
        raise InputError(haystack, found=found, wanted=wanted, remedy="give shards with more text")
    return trained, measured
