"""The built-in text in two varieties: documents in halves, pairs of preference, and pairs that hold other contrasts.

What a model learns from here is Portuguese of both sides of the sea, one variety in each document; what it is then
asked to prefer are some of the contrasts, and what it is measured by are the others.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from amalia_mm.batch import Turn
from amalia_mm.data.schema import Record, Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.brazilian import ADDRESS, ENCLISIS, INFINITIVE, POSSESSIVE, PROGRESSIVE, to_brazilian
from amalia_mm.prepare.corpus import Corpus, build_corpus
from amalia_mm.prepare.lines import BUILT_IN, LICENCE
from amalia_mm.prepare.own_text import OwnText
from amalia_mm.prepare.pairs import Pair
from amalia_mm.prepare.questions import BY_HEART, Question
from amalia_mm.prepare.staging import staged, write_jsonl, write_summary
from amalia_mm.prepare.text_shards import PARTS, asked_records, chat_records
from amalia_mm.variety import Variety

_SHARDS = ("documents", "chat", "facts", "preferences", "answers")
SUMMARY = "varieties.json"
"""Written last: where it is missing, the corpus is not whole."""
PRODUCTS = (
    *(f"shards/{name}-{part}" for part in PARTS for name in _SHARDS),
    *("text_test.jsonl", "pairs.jsonl", SUMMARY),
)
STAGING = ".varieties"

HELD_OUT_GRAMMAR = {
    PROGRESSIVE: ("progressive", "keeps_doing"),
    ENCLISIS: ("enclisis", "imperative", "enclisis_inside"),
    ADDRESS: ("tu", "did_you", "for_you", "with_you"),
    POSSESSIVE: ("article_possessive",),
}
"""Contrasts of grammar that no preference is learned of, with their patterns in `pairs.yaml`."""
_UNASKED = frozenset((*HELD_OUT_GRAMMAR, INFINITIVE))
"""A clitic after an infinitive is too like one after another verb: it is in the documents and nowhere else."""
_NAMED = ("Portugal", "portugueses", "escreve-se")
"""Sentences about a word would be false with the other one."""
_SENTENCES = (4, 8)
"""Fewest and most sentences of a document."""
_MOST_PREFERENCES = 16
"""Of one contrast: the commonest must not be all there is to learn."""
_VAL_EVERY = 20


@dataclass(frozen=True)
class _Told:
    """A sentence in both varieties, and the contrasts between the two (none in most)."""

    european: str
    brazilian: str
    contrasts: frozenset[str]


def write_varieties(
    output: Path, *, smoke: bool = False, seed: int = 0, progress: bool = True
) -> dict[str, object]:
    """Return the summary of the text in two varieties (also `varieties.json`), after writing it all under `output`.

    `documents-` are half European and half Brazilian, each whole; `chat-` and `facts-` are those of the built-in
    corpus; `preferences-` are sentences whose Brazilian form is rejected, of half of the contrasts of words and of some
    of grammar; `answers-` are questions whose right answer is chosen over another, so that preference does not forget
    them. `pairs.jsonl` has the other contrasts: as many pairs of words as of the grammar of `HELD_OUT_GRAMMAR`.
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
    told = [_told(text) for text in _sentences(corpus)]
    words = sorted({name for one in told for name in one.contrasts} - _UNASKED - _grammar(told))
    heldout_words = frozenset(rng.sample(words, len(words) // 2))
    pairs = _measured(corpus.pairs, heldout_words, rng)
    members = {spoken_form(text) for pair in pairs for text in (pair.european, pair.brazilian)}
    told = [one for one in told if not members & {spoken_form(one.european), spoken_form(one.brazilian)}]
    preferences = _preferences(told, heldout_words | _UNASKED, rng)
    with staged(output, STAGING, PRODUCTS) as staging:
        for part in tqdm(PARTS, desc="variedades", unit="parte", disable=not progress):
            some = [one for number, one in enumerate(told) if (number % _VAL_EVERY == 0) == (part == "val")]
            liked = [
                one for number, one in enumerate(preferences) if (number % _VAL_EVERY == 0) == (part == "val")
            ]
            own = OwnText(conversations={"train": [], "val": [], "test": []})
            records = {
                "documents": _documents(part, some, rng),
                "chat": chat_records(part, corpus, own),
                "facts": asked_records(part, corpus, "fact", BY_HEART),
                "preferences": _preference_records(part, liked),
                "answers": _answer_records(part, corpus, random.Random(f"answers {part} {seed}")),
            }
            for name, found in records.items():
                with ShardWriter(staging / f"shards/{name}-{part}") as writer:
                    for record in found:
                        writer.write(record)
        questions = ({"question": q.text, "answer": q.answer, "kind": q.kind} for q in corpus.questions_test)
        write_jsonl(staging / "text_test.jsonl", questions)
        write_jsonl(staging / "pairs.jsonl", (asdict(pair) for pair in pairs))
        summary: dict[str, object] = {
            "seed": seed,
            "smoke": smoke,
            "sentences": len(told),
            "sentences_that_differ": sum(bool(one.contrasts) for one in told),
            "preferences": len(preferences),
            "contrasts_preferred": sorted({name for one in preferences for name in one.contrasts}),
            "contrasts_held_out": sorted({pair.contrast for pair in pairs}),
            "pairs": len(pairs),
        }
        write_summary(staging / SUMMARY, summary)
    return summary


def _sentences(corpus: Corpus) -> Iterator[str]:
    texts = (*(sentence.text for sentence in corpus.train), *corpus.reading)
    return (text for text in texts if not any(name in text for name in _NAMED))


def _told(text: str) -> _Told:
    return _Told(text, *to_brazilian(text))


def _grammar(told: Sequence[_Told]) -> set[str]:
    return {name for one in told for name in one.contrasts if name.startswith("grammar/")}


def _measured(pairs: Sequence[Pair], heldout_words: frozenset[str], rng: random.Random) -> list[Pair]:
    """Return as many pairs of the held-out words as of the held-out grammar, and of each contrast of that as many."""
    by_grammar = [
        [pair for pair in pairs if pair.contrast.removeprefix("grammar/") in patterns]
        for patterns in HELD_OUT_GRAMMAR.values()
    ]
    words = [pair for pair in pairs if pair.contrast in heldout_words]
    num = min(*map(len, by_grammar), len(words) // len(by_grammar))
    grammar = [pair for some in by_grammar for pair in rng.sample(some, num)]
    return [*rng.sample(words, len(grammar)), *grammar]


def _preferences(told: Sequence[_Told], left_out: frozenset[str], rng: random.Random) -> list[_Told]:
    """Return sentences that differ, in no contrast that is left out, at most so many of any one contrast."""
    uses: Counter[str] = Counter()
    kept = []
    for one in rng.sample(told, len(told)):
        is_asked = one.contrasts and not one.contrasts & left_out
        if is_asked and all(uses[name] < _MOST_PREFERENCES for name in one.contrasts):
            uses.update(one.contrasts)
            kept.append(one)
    return kept


def _documents(part: Split, told: Sequence[_Told], rng: random.Random) -> Iterator[Record]:
    """Yield every sentence once in a European document and once in a Brazilian one, in other company."""
    by_variety: defaultdict[Variety, list[list[str]]] = defaultdict(list)
    for variety in (Variety.PT_PT, Variety.PT_BR):
        shuffled = rng.sample(told, len(told))
        start = 0
        while start < len(shuffled):
            num = rng.randint(*_SENTENCES)
            some = shuffled[start : start + num]
            by_variety[variety].append(
                [one.european if variety is Variety.PT_PT else one.brazilian for one in some]
            )
            start += num
    documents = [(variety, " ".join(texts)) for variety, found in by_variety.items() for texts in found]
    rng.shuffle(documents)
    for number, (variety, text) in enumerate(documents):
        yield Record(
            f"{part}-document-{number:06d}", "document", variety, "", BUILT_IN, LICENCE, part, text=text
        )


def _preference_records(part: Split, told: Sequence[_Told]) -> Iterator[Record]:
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


def _answer_records(part: Split, corpus: Corpus, rng: random.Random) -> Iterator[Record]:
    """Yield the questions to know by heart, each with the answer to another question of its relation as rejected."""
    asked = corpus.questions_train if part == "train" else corpus.questions_val
    known = [question for question in asked if question.kind in BY_HEART]
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for question in known:
        answers[_relation(question)].add(question.answer)
    for number, question in enumerate(known):
        others = sorted(answers[_relation(question)] - {question.answer})
        if others:
            yield Record(
                f"{part}-answer-{number:06d}",
                "preference",
                Variety.PT_PT,
                "",
                BUILT_IN,
                LICENCE,
                part,
                turns=(Turn("user", question.text), Turn("assistant", question.answer)),
                rejected=rng.choice(others),
            )


def _relation(question: Question) -> str:
    return question.template.partition("/")[0]
