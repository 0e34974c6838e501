"""The shards without audio: documents to read, conversations to answer, lines to read as simulated CTC paths.

It knows records and folders; it does not know voices or clips.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from amalia_mm.batch import Turn
from amalia_mm.data.schema import Record, Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.prepare.corpus import Corpus, Dialogue
from amalia_mm.prepare.grammar import Sentence
from amalia_mm.prepare.jumbled import JUMBLED
from amalia_mm.prepare.lines import BUILT_IN, LICENCE, Line
from amalia_mm.prepare.own_text import OwnText
from amalia_mm.prepare.questions import BY_HEART, Kind, Question
from amalia_mm.variety import Variety

PARTS: tuple[Split, ...] = ("train", "val")
TEXT_SHARDS = (
    *(f"{kind}-{part}" for part in PARTS for kind in ("documents", "chat", "sums", "facts", "paths")),
    "copies-train",
)
"""The folders that `write_text_shards` writes."""

_MOST_SENTENCES = 8
_LEAST_READING = 4
READING_TIMES = 16
"""How often a sentence to read only stands in the documents, in other company each time."""
_VAL_DIALOGUES = 20  # one in twenty is for validation


def write_text_shards(
    folder: Path,
    corpus: Corpus,
    own: OwnText,
    paths: Iterable[Line],
    rng: random.Random,
    progress: bool = False,
) -> None:
    """Write `documents-`, `chat-`, `sums-`, `facts-` and `paths-`, each `train` and `val`, and `copies-train`.

    Documents are sentences of one topic, questions with answers, dialogues, sentences to read only (these for
    training alone) and the user's text; chat is questions about a context, dialogues and the user's
    conversations; sums are apart, since few steps teach none of them; facts are questions whose answer must be known
    by heart, which takes more visits; paths are lines without audio, to be simulated; copies are conversations that
    ask for a jumbled line again.

    Raises:
        InputError: The disk is full.
    """
    by_part: dict[Split, list[Line]] = {part: [] for part in PARTS}
    for line in paths:
        by_part[line.split].append(line)
    records: dict[str, Iterable[Record]] = {}
    for part in PARTS:
        records[f"documents-{part}"] = _documents(part, corpus, own, rng)
        records[f"chat-{part}"] = chat_records(part, corpus, own)
        records[f"sums-{part}"] = asked_records(part, corpus, "sum", ("arithmetic",))
        records[f"facts-{part}"] = asked_records(part, corpus, "fact", BY_HEART)
        records[f"paths-{part}"] = (line.record() for line in by_part[part])
    records["copies-train"] = _copies(by_part["train"])
    for name in tqdm(TEXT_SHARDS, desc="texto", unit="pasta", disable=not progress):
        with ShardWriter(folder / name) as writer:
            for record in records[name]:
                writer.write(record)


def _documents(part: Split, corpus: Corpus, own: OwnText, rng: random.Random) -> Iterator[Record]:
    texts = [
        *_grouped(corpus.train if part == "train" else corpus.val, rng),
        *(f"{question.text}\n{question.answer}" for question in _questions(corpus, part)),
        *("\n".join(turn.text for turn in turns) for turns in _dialogues(corpus, part)),
        *(_reading(corpus.reading, rng) if part == "train" else ()),
    ]
    rng.shuffle(texts)
    for number, text in enumerate(texts):
        identity = f"{part}-document-{number:06d}"
        yield Record(identity, "document", Variety.PT_PT, "", BUILT_IN, LICENCE, part, text=text)
    for number, one in enumerate(own.documents[part]):
        identity = f"{part}-own-document-{number:06d}"
        yield Record(identity, "document", one.variety, "", one.source, "", part, text=one.text)


def chat_records(part: Split, corpus: Corpus, own: OwnText) -> Iterator[Record]:
    """Yield questions about a context, dialogues and the user's conversations of one split."""
    asked = (question for question in _questions(corpus, part) if question.kind == "context")
    for number, turns in enumerate([*map(_turns, asked), *_dialogues(corpus, part)]):
        identity = f"{part}-chat-{number:06d}"
        yield Record(identity, "chat", Variety.PT_PT, "", BUILT_IN, LICENCE, part, turns=turns)
    for number, one in enumerate(own.conversations[part]):
        identity = f"{part}-own-chat-{number:06d}"
        yield Record(identity, "chat", one.variety, "", one.source, "", part, turns=one.turns)


def asked_records(part: Split, corpus: Corpus, name: str, kinds: Collection[Kind]) -> Iterator[Record]:
    """Yield the questions of some kinds with their answers, of one split."""
    asked = (question for question in _questions(corpus, part) if question.kind in kinds)
    for number, turns in enumerate(map(_turns, asked)):
        identity = f"{part}-{name}-{number:06d}"
        yield Record(identity, "chat", Variety.PT_PT, "", BUILT_IN, LICENCE, part, turns=turns)


def _turns(question: Question) -> Dialogue:
    return Turn("user", question.text), Turn("assistant", question.answer)


def _copies(paths: Sequence[Line]) -> Iterator[Record]:
    for number, line in enumerate(line for line in paths if line.template == JUMBLED):
        asked = f"Repete: {line.text[0].lower()}{line.text[1:].removesuffix('.')}"
        turns = (Turn("user", asked), Turn("assistant", line.text))
        identity = f"train-copy-{number:06d}"
        yield Record(identity, "copy", Variety.PT_PT, "", BUILT_IN, LICENCE, "train", turns=turns)


def _grouped(sentences: Sequence[Sentence], rng: random.Random) -> Iterator[str]:
    """Yield the sentences as small documents of one topic, each sentence once."""
    by_topic: defaultdict[str, list[str]] = defaultdict(list)
    for sentence in rng.sample(sentences, len(sentences)):
        by_topic[sentence.topic].append(sentence.text)
    for texts in by_topic.values():
        yield from _joined(texts, 1, rng)


def _reading(sentences: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Yield the sentences to read as small documents, all of them in a new order each time."""
    for _ in range(READING_TIMES):
        yield from _joined(rng.sample(sentences, len(sentences)), _LEAST_READING, rng)


def _joined(texts: Sequence[str], least: int, rng: random.Random) -> Iterator[str]:
    """Yield the texts in order, `least` to `_MOST_SENTENCES` of them in one."""
    start = 0
    while start < len(texts):
        num = rng.randint(least, _MOST_SENTENCES)
        yield " ".join(texts[start : start + num])
        start += num


def _questions(corpus: Corpus, part: Split) -> Sequence[Question]:
    return corpus.questions_train if part == "train" else corpus.questions_val


def _dialogues(corpus: Corpus, part: Split) -> list[Dialogue]:
    return [
        turns
        for number, turns in enumerate(corpus.dialogues)
        if (number % _VAL_DIALOGUES == 0) == (part == "val")
    ]
