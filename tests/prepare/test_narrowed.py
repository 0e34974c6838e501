"""A narrowed corpus has the commonest words and nothing that needs another."""

import pytest

from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.corpus import Corpus, build_corpus
from amalia_mm.prepare.narrowed import narrowed


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return build_corpus(0, num_sentences=6000)


def test_no_text_needs_a_word_that_was_left_out(corpus):
    small = narrowed(corpus, 400)
    texts = [s.text for part in ("train", "val", "test_seen", "test_heldout") for s in getattr(small, part)]
    texts += [q.text for part in ("train", "val", "test") for q in getattr(small, f"questions_{part}")]
    texts += [q.answer for q in small.questions_train]
    texts += [turn.text for turns in small.dialogues for turn in turns]
    found = {word for text in texts for word in words(text)}
    assert 200 < len(found) <= 400
    assert small.vocabulary <= corpus.vocabulary
    assert {"o", "a", "está"} <= found


def test_what_is_left_is_what_was_there(corpus):
    small = narrowed(corpus, 400)
    assert set(small.train) < set(corpus.train)
    assert set(small.test_heldout) < set(corpus.test_heldout)
    assert (small.pairs, small.reading) == (corpus.pairs, corpus.reading)


def test_all_the_words_leave_all_of_it(corpus):
    assert narrowed(corpus, 10_000).train == corpus.train


@pytest.mark.parametrize("num_words", [5, 0, -5])
def test_too_few_words_are_refused(corpus, num_words):
    with pytest.raises(InputError, match=f"--words: found {num_words}, with which there are no training"):
        narrowed(corpus, num_words)
