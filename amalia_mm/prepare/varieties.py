"""The built-in text in two varieties: documents in halves, pairs of preference, and pairs that hold other contrasts.

What a model learns from here is Portuguese of both sides of the sea, one variety in each document; what it is then
asked to prefer are some of the contrasts, and what it is measured by are the others.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from amalia_mm.data.schema import Record, Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.portuguese.normalise import spoken_form, words
from amalia_mm.prepare.contrasted import Told, pairs_of, preferences_of, share_contrasts
from amalia_mm.prepare.corpus import Corpus, build_corpus
from amalia_mm.prepare.lines import BUILT_IN, LICENCE
from amalia_mm.prepare.own_text import OwnText
from amalia_mm.prepare.pairs import Pair
from amalia_mm.prepare.questions import BY_HEART
from amalia_mm.prepare.staging import staged, write_jsonl, write_summary
from amalia_mm.prepare.text_shards import PARTS, asked_records, chat_records
from amalia_mm.variety import Variety

_SHARDS = ("documents", "chat", "facts", "preferences")
SUMMARY = "varieties.json"
"""Written last: where it is missing, the corpus is not whole."""
PRODUCTS = (
    *(f"shards/{name}-{part}" for part in PARTS for name in _SHARDS),
    *("text_test.jsonl", "pairs.jsonl", "validation/text_test.jsonl", "validation/pairs.jsonl", SUMMARY),
)
STAGING = ".varieties"

_NAMED = ("Portugal", "portugueses", "escreve-se")
"""Sentences about a word would be false with the other one."""
_SENTENCES = (3, 8)
"""Fewest and most sentences of a document."""
_HEADINGS = {Variety.PT_PT: "Escrito em Portugal.\n", Variety.PT_BR: "Escrito no Brasil.\n"}
_HEADED = 0.5
"""The part of the documents that say where they come from: a small model learns there what a variety is."""
_RARE = 1000
"""Contrasts in fewer sentences are rare."""
_RARE_TIMES = 4
"""How often a sentence with a rare contrast stands in the documents of a variety, in other company each time."""
_ALIKE = 3
"""One in so many of the sentences that are alike stands in the documents: a variety is learned from the others."""
_MOST_PREFERENCES = 40
"""Of one contrast: the commonest must not be all there is to learn."""
_PAIRS = 60
"""Of each contrast of grammar, to measure; of words as many as of all of grammar."""
_VAL_EVERY = 20


def write_varieties(
    output: Path, *, smoke: bool = False, seed: int = 0, progress: bool = True
) -> dict[str, object]:
    """Return the summary of the text in two varieties (also `varieties.json`), after writing it all under `output`.

    `documents-` are half European and half Brazilian, each of one variety, and half of them say which in a heading;
    `chat-` and `facts-` are those of the built-in corpus; `preferences-` are sentences whose Brazilian form is
    rejected, of half of the contrasts of words and of some of grammar. `pairs.jsonl` measures other contrasts: as many
    pairs of words as of `MEASURED_GRAMMAR`. `validation/` has pairs of others again, and questions, to choose by.
    The same arguments give the same files, byte for byte.

    Args:
        output: The run folder.
        smoke: A few hundred sentences.
        seed: Decides what is drawn and which contrasts are held out.
        progress: Show a bar on stderr.

    Raises:
        InputError: The disk is full.
    """
    corpus = build_corpus(seed, num_sentences=20_000, smoke=smoke)
    rng = random.Random(f"varieties {seed}")
    told = [Told.of(text) for text in _sentences(corpus)]
    contrasts = share_contrasts(told, rng)
    pairs = {
        "": pairs_of(told, contrasts.measured, _PAIRS, rng),
        "validation/": pairs_of(told, contrasts.watched, _PAIRS, rng),
    }
    told = _apart(told, [one for some in pairs.values() for one in some])
    vocabulary = frozenset(word for one in told for word in words(one.european))
    preferences = preferences_of(
        told, contrasts.preferred, _MOST_PREFERENCES, random.Random(f"preferences {seed}")
    )
    rare = _rare(told)
    with staged(output, STAGING, PRODUCTS) as staging:
        (staging / "validation").mkdir()
        for part in tqdm(PARTS, desc="variedades", unit="parte", disable=not progress):
            some = [one for number, one in enumerate(told) if (number % _VAL_EVERY == 0) == (part == "val")]
            liked = [
                one for number, one in enumerate(preferences) if (number % _VAL_EVERY == 0) == (part == "val")
            ]
            own = OwnText(conversations={"train": [], "val": [], "test": []})
            records = {
                "documents": _documents(part, _read(some, rare, rng), rng),
                "chat": chat_records(part, corpus, own),
                "facts": asked_records(part, corpus, "fact", BY_HEART),
                "preferences": _preference_records(part, liked),
            }
            for name, found in records.items():
                with ShardWriter(staging / f"shards/{name}-{part}") as writer:
                    for record in found:
                        writer.write(record)
        for folder, asked in (("", corpus.questions_test), ("validation/", corpus.questions_val)):
            rows = ({"question": q.text, "answer": q.answer, "kind": q.kind} for q in asked)
            write_jsonl(staging / f"{folder}text_test.jsonl", rows)
            write_jsonl(staging / f"{folder}pairs.jsonl", (_pair(one, vocabulary) for one in pairs[folder]))
        summary: dict[str, object] = {
            "seed": seed,
            "smoke": smoke,
            "sentences": len(told),
            "sentences_that_differ": sum(bool(one.contrasts) for one in told),
            "preferences": len(preferences),
            "contrasts_preferred": sorted({name for one in preferences for name in one.contrasts}),
            "contrasts_measured": sorted(set().union(*(one.contrasts for one in pairs[""]))),
            "contrasts_watched": sorted(set().union(*(one.contrasts for one in pairs["validation/"]))),
            "pairs": len(pairs[""]),
            "pairs_of_validation": len(pairs["validation/"]),
        }
        write_summary(staging / SUMMARY, summary)
    return summary


def _sentences(corpus: Corpus) -> Iterator[str]:
    texts = (*(sentence.text for sentence in corpus.train), *corpus.reading)
    return (text for text in texts if not any(name in text for name in _NAMED))


def _rare(told: Sequence[Told]) -> frozenset[str]:
    uses = Counter(name for one in told for name in one.contrasts)
    return frozenset(name for name, num in uses.items() if num < _RARE)


def _read(told: Sequence[Told], rare: frozenset[str], rng: random.Random) -> list[Told]:
    """Return what the documents of a variety hold: most of it tells of the variety, and rare contrasts come often."""
    differ = [one for one in told if one.contrasts for _ in range(_RARE_TIMES if one.contrasts & rare else 1)]
    alike = [one for one in told if not one.contrasts]
    return [*differ, *rng.sample(alike, len(alike) // _ALIKE)]


def _apart(told: Sequence[Told], measured: Sequence[Told]) -> list[Told]:
    """Return the sentences in which no member of a measured pair stands, in either variety."""
    members = {spoken_form(text) for one in measured for text in (one.european, one.brazilian)}
    stands = re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, sorted(members)))})(?!\S)")
    return [
        one for one in told if not any(stands.search(spoken_form(t)) for t in (one.european, one.brazilian))
    ]


def _pair(one: Told, vocabulary: frozenset[str]) -> dict[str, object]:
    in_vocabulary = all(word in vocabulary for word in words(one.european))
    return asdict(Pair(one.european, one.brazilian, next(iter(one.contrasts)), in_vocabulary))


def _documents(part: Split, told: Sequence[Told], rng: random.Random) -> Iterator[Record]:
    """Yield every sentence as often in a European document as in a Brazilian one, in other company each time."""
    texts: list[tuple[Variety, str]] = []
    for variety in (Variety.PT_PT, Variety.PT_BR):
        sides = [
            one.european if variety is Variety.PT_PT else one.brazilian for one in rng.sample(told, len(told))
        ]
        start = 0
        while start < len(sides):
            num = rng.randint(*_SENTENCES)
            heading = _HEADINGS[variety] if rng.random() < _HEADED else ""
            texts.append((variety, heading + " ".join(sides[start : start + num])))
            start += num
    rng.shuffle(texts)
    for number, (variety, text) in enumerate(texts):
        yield Record(
            f"{part}-document-{number:06d}", "document", variety, "", BUILT_IN, LICENCE, part, text=text
        )


def _preference_records(part: Split, told: Sequence[Told]) -> Iterator[Record]:
    for number, one in enumerate(told):
        yield Record(
            f"{part}-preference-{number:06d}",
            "preference",
            Variety.PT_PT,
            "",
            BUILT_IN,
            LICENCE,
            part,
            text=one.european,
            rejected=one.brazilian,
        )
