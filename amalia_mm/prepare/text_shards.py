"""The shards without audio: documents to read, conversations to answer, lines to read as simulated CTC paths.

It knows records and folders; it does not know voices or clips.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from amalia_mm.batch import Turn
from amalia_mm.data.schema import Record, Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.prepare.clips import BUILT_IN, LICENCE, Line
from amalia_mm.prepare.corpora import Written
from amalia_mm.prepare.corpus import Corpus, Dialogue
from amalia_mm.prepare.grammar import Sentence
from amalia_mm.prepare.own_data import OwnText
from amalia_mm.prepare.questions import Question
from amalia_mm.variety import Variety

PARTS: tuple[Split, ...] = ("train", "val")

_MOST_SENTENCES = 8
_VAL_DIALOGUES = 20  # one in twenty is for validation


def write_documents(folder: Path, corpus: Corpus, own: OwnText, rng: random.Random) -> None:
    """Write `documents-{train,val}`: sentences by topic, questions, dialogues, the user's text."""
    for part in PARTS:
        sentences = corpus.train if part == "train" else corpus.val
        texts = [
            *_grouped(sentences, rng),
            *(f"{question.text}\n{question.answer}" for question in _questions(corpus, part)),
            *("\n".join(turn.text for turn in turns) for turns in _dialogues(corpus, part)),
        ]
        rng.shuffle(texts)
        with ShardWriter(folder / f"documents-{part}") as writer:
            for number, text in enumerate(texts):
                writer.write(_document(f"{part}-document-{number:06d}", part, text))
            for number, written in enumerate(own.documents[part]):
                writer.write(_own_document(f"{part}-own-document-{number:06d}", part, written))


def write_chat(folder: Path, corpus: Corpus, own: OwnText) -> None:
    """Write `chat-train` and `chat-val`: written questions, dialogues, and the user's conversations."""
    for part in PARTS:
        conversations = [
            *((Turn("user", q.text), Turn("assistant", q.answer)) for q in _questions(corpus, part)),
            *_dialogues(corpus, part),
        ]
        with ShardWriter(folder / f"chat-{part}") as writer:
            for number, turns in enumerate(conversations):
                writer.write(_conversation(f"{part}-chat-{number:06d}", part, turns))
            for number, written in enumerate(own.conversations[part]):
                writer.write(_own_conversation(f"{part}-own-chat-{number:06d}", part, written))


def write_paths(folder: Path, lines: Iterable[Line]) -> None:
    """Write `paths-train` and `paths-val`: lines without audio, by their split."""
    by_part: dict[Split, list[Line]] = {part: [] for part in PARTS}
    for line in lines:
        by_part[line.split].append(line)
    for part in PARTS:
        with ShardWriter(folder / f"paths-{part}") as writer:
            for line in by_part[part]:
                writer.write(line.record())


def _grouped(sentences: Sequence[Sentence], rng: random.Random) -> Iterator[str]:
    """Yield the sentences as small documents of one topic, each sentence once."""
    by_topic: defaultdict[str, list[str]] = defaultdict(list)
    for sentence in rng.sample(sentences, len(sentences)):
        by_topic[sentence.topic].append(sentence.text)
    for texts in by_topic.values():
        start = 0
        while start < len(texts):
            num = rng.randint(1, _MOST_SENTENCES)
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


def _document(identity: str, part: Split, text: str) -> Record:
    return Record(identity, "document", Variety.PT_PT, "", BUILT_IN, LICENCE, part, text=text)


def _own_document(identity: str, part: Split, written: Written) -> Record:
    return Record(identity, "document", written.variety, "", "text", "", part, text=written.text)


def _conversation(identity: str, part: Split, turns: Dialogue) -> Record:
    return Record(identity, "chat", Variety.PT_PT, "", BUILT_IN, LICENCE, part, turns=turns)


def _own_conversation(identity: str, part: Split, written: Written) -> Record:
    return Record(identity, "chat", written.variety, "", "text", "", part, turns=written.turns)
