"""The built-in corpus beside the user's recordings: neither side tests what the other one teaches."""

from __future__ import annotations

from dataclasses import replace

from amalia_mm.prepare.corpus import Corpus
from amalia_mm.prepare.said import Said


def apart(corpus: Corpus, trained: Said, tested: Said) -> Corpus:
    """Return the corpus without what overlaps; the corpus itself where nothing is said.

    Args:
        corpus: The built-in corpus.
        trained: What recordings say that are trained on: it is taken out of what is measured.
        tested: What the other recordings say: it is taken out of what is learned. Minimal pairs stay, they are only
            compared.
    """
    if trained:
        corpus = replace(
            corpus,
            test_seen=tuple(s for s in corpus.test_seen if not trained.is_in(s.text)),
            test_heldout=tuple(s for s in corpus.test_heldout if not trained.is_in(s.text)),
            questions_test=tuple(q for q in corpus.questions_test if not trained.is_in(q.text)),
        )
    if tested:
        corpus = replace(
            corpus,
            train=tuple(s for s in corpus.train if not tested.is_in(s.text)),
            val=tuple(s for s in corpus.val if not tested.is_in(s.text)),
            questions_train=tuple(q for q in corpus.questions_train if not tested.is_in(q.text)),
            questions_val=tuple(q for q in corpus.questions_val if not tested.is_in(q.text)),
            dialogues=tuple(
                turns for turns in corpus.dialogues if not any(tested.is_in(turn.text) for turn in turns)
            ),
            reading=tuple(text for text in corpus.reading if not tested.is_in(text)),
        )
    return corpus
