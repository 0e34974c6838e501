"""A corpus of fewer words: what of it can be said with its commonest ones.

Word error rates at several sizes of vocabulary tell how a recipe scales; everything else stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.corpus import Corpus
from amalia_mm.prepare.questions import BY_HEART, Kind, Question


def narrowed(corpus: Corpus, num_words: int) -> Corpus:
    """Return the sentences, questions and dialogues whose every word is among the `num_words` commonest.

    Words are counted in the training sentences and questions. Minimal pairs and what is only read stay whole.

    Raises:
        InputError: So few words leave nothing to train on or to measure.
    """
    read = (*(s.text for s in corpus.train), *(_whole(question) for question in corpus.questions_train))
    counts = Counter(word for text in read for word in words(text))
    # Ties are broken by the word itself: the same corpus is always narrowed alike.
    kept = {
        word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: max(num_words, 0)]
    }

    def fits(text: str) -> bool:
        return all(word in kept for word in words(text))

    def answerable(questions: Sequence[Question]) -> tuple[Question, ...]:
        return tuple(question for question in questions if fits(_whole(question)))

    small = replace(
        corpus,
        train=tuple(s for s in corpus.train if fits(s.text)),
        val=tuple(s for s in corpus.val if fits(s.text)),
        test_seen=tuple(s for s in corpus.test_seen if fits(s.text)),
        test_heldout=tuple(s for s in corpus.test_heldout if fits(s.text)),
        questions_train=answerable(corpus.questions_train),
        questions_val=answerable(corpus.questions_val),
        questions_test=answerable(corpus.questions_test),
        dialogues=tuple(turns for turns in corpus.dialogues if all(fits(turn.text) for turn in turns)),
    )
    needed = {
        "training sentences": small.train,
        "test sentences": small.test_seen,
        "test sentences of held-out templates": small.test_heldout,
        "training questions": small.questions_train,
        "questions with a context": _of_kinds(small.questions_train, ("context",)),
        "sums": _of_kinds(small.questions_train, ("arithmetic",)),
        "facts to learn": _of_kinds(small.questions_train, BY_HEART),
        "facts to watch": _of_kinds(small.questions_val, BY_HEART),
        "test questions": small.questions_test,
    }
    empty = [name for name, found in needed.items() if not found]
    if empty:
        raise InputError(
            "--words",
            found=f"{num_words}, with which there are no {', no '.join(empty)}",
            wanted=f"enough of the {len(counts)} words to train and to measure",
            remedy="give a larger number",
        )
    return small


def _of_kinds(questions: Sequence[Question], kinds: Collection[Kind]) -> list[Question]:
    return [question for question in questions if question.kind in kinds]


def _whole(question: Question) -> str:
    return f"{question.text} {question.answer}"
