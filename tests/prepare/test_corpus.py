"""The corpus as a whole: its size, its splits, its words, and that it is the same every time."""

from __future__ import annotations

import re
import time
from collections import Counter
from itertools import islice

import pytest

from amalia_mm.portuguese.contrast import load_contrasts, markers
from amalia_mm.portuguese.normalise import spoken_form, words
from amalia_mm.prepare.corpus import Corpus, build_corpus, spoken_subset
from amalia_mm.prepare.grammar import Grammar

FULL_BUILD_LIMIT_S = 15.0
SMOKE_BUILD_LIMIT_S = 2.0
GERUND_PROGRESSIVE = re.compile(r"\b(est|continu|and|fic)\w* (?!quando)\w+ndo\b")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    start = time.process_time()
    built = build_corpus()
    assert time.process_time() - start < FULL_BUILD_LIMIT_S
    return built


@pytest.fixture(scope="module")
def smoke() -> Corpus:
    start = time.process_time()
    built = build_corpus(smoke=True)
    assert time.process_time() - start < SMOKE_BUILD_LIMIT_S
    return built


def spoken(corpus: Corpus, part: str) -> list[str]:
    return [spoken_form(item.text) for item in getattr(corpus, part)]


SENTENCES = ("train", "val", "test_seen", "test_heldout")
QUESTIONS = ("questions_train", "questions_val", "questions_test")


def training_texts(corpus: Corpus) -> list[str]:
    return [
        *(sentence.text for sentence in corpus.train),
        *(f"{question.text} {question.answer}" for question in corpus.questions_train),
        *(turn.text for dialogue in corpus.dialogues for turn in dialogue),
        *corpus.reading,
    ]


def test_it_has_the_size_that_is_promised(corpus: Corpus) -> None:
    sentences = {text for part in SENTENCES for text in spoken(corpus, part)}
    assert len(sentences) >= 100_000
    assert 800 <= len(corpus.vocabulary) <= 880
    assert len(corpus.questions_train) >= 10_000
    assert len({sentence.template for sentence in corpus.train}) >= 60
    assert len(corpus.dialogues) >= 300
    assert min(len(corpus.val), len(corpus.test_seen), len(corpus.test_heldout)) >= 900


def test_no_spoken_form_stands_twice(corpus: Corpus, smoke: Corpus) -> None:
    for built in (corpus, smoke):
        everything = [text for part in SENTENCES + QUESTIONS for text in spoken(built, part)]
        everything += [spoken_form(pair.european) for pair in built.pairs]
        everything += [spoken_form(text) for text in built.reading]
        assert [text for text, count in Counter(everything).items() if count > 1] == []


def test_heldout_templates_are_in_no_training(corpus: Corpus) -> None:
    assert {sentence.template for sentence in corpus.test_heldout} == corpus.heldout_templates
    seen = {sentence.template for part in ("train", "val", "test_seen") for sentence in getattr(corpus, part)}
    assert not seen & corpus.heldout_templates
    assert {sentence.template for sentence in corpus.test_seen} <= seen
    share = len(corpus.heldout_templates) / (len(seen) + len(corpus.heldout_templates))
    assert 0.19 <= share <= 0.22


def test_nothing_measured_stands_inside_a_question_or_dialogue(corpus: Corpus) -> None:
    inside = {spoken_form(question.context) for question in corpus.questions_train}
    inside |= {spoken_form(question.question) for question in corpus.questions_train}
    inside |= {spoken_form(turn.text) for dialogue in corpus.dialogues for turn in dialogue}
    inside |= {spoken_form(text) for text in corpus.reading}
    for part in ("val", "test_seen", "test_heldout"):
        assert not inside & set(spoken(corpus, part))
    grammar = Grammar.load()
    for name in sorted(corpus.heldout_templates):
        assert not inside & {
            spoken_form(sentence.text) for sentence in islice(grammar.sentences(name), 5000)
        }, name


def test_every_word_that_is_measured_is_heard_in_training(corpus: Corpus) -> None:
    trained = Counter(word for sentence in corpus.train for word in set(words(sentence.text)))
    measured = {
        word for part in (*SENTENCES, *QUESTIONS) for text in spoken(corpus, part) for word in text.split()
    }
    measured |= {word for question in corpus.questions_test for word in words(question.answer)}
    measured |= {word for dialogue in corpus.dialogues for turn in dialogue for word in words(turn.text)}
    assert measured <= trained.keys()
    assert min(trained.values()) >= 6


def test_training_is_european_portuguese(corpus: Corpus) -> None:
    brazilian = markers(load_contrasts(), "brazilian") | {"você", "vocês", "a gente gosta", "né"}
    texts = training_texts(corpus)
    everything = " | ".join(["o ônibus chegou", *(spoken_form(text) for text in texts)])
    assert {marker for marker in brazilian if f" {marker} " in everything} == {"ônibus"}
    assert GERUND_PROGRESSIVE.findall(everything) == []
    assert [text for text in texts if re.match(r"(Me|Te|Lhe|Nos|Vos) ", text)] == []


def test_preference_pairs_are_not_trained_on(corpus: Corpus) -> None:
    trained = {spoken_form(text) for text in training_texts(corpus)}
    assert len(corpus.pairs) >= 300
    assert sum(pair.in_vocabulary for pair in corpus.pairs) >= 100
    for pair in corpus.pairs:
        assert spoken_form(pair.european) not in trained
        assert spoken_form(pair.brazilian) not in trained


def test_dialogues_take_turns_and_end_with_the_assistant(corpus: Corpus) -> None:
    for dialogue in corpus.dialogues:
        assert 2 <= len(dialogue) <= 6
        assert [turn.role for turn in dialogue] == ["user", "assistant"] * (len(dialogue) // 2)


@pytest.mark.parametrize(("num", "min_uses"), [(2500, 2), (3500, 6)])
def test_the_spoken_subset_lets_every_word_be_heard(corpus: Corpus, num: int, min_uses: int) -> None:
    subset = spoken_subset(corpus, num, seed=0, min_uses=min_uses)
    assert len(subset) == len(set(subset)) == num
    assert set(subset) <= set(corpus.train)
    heard = Counter(word for sentence in subset for word in set(words(sentence.text)))
    assert heard.keys() == {word for sentence in corpus.train for word in words(sentence.text)}
    assert min(heard.values()) >= min_uses
    uses = Counter(sentence.template for sentence in subset)
    assert uses.keys() == {sentence.template for sentence in corpus.train}
    assert min(uses.values()) >= 10


def test_the_spoken_subset_hears_every_template_about_as_often(corpus: Corpus) -> None:
    """With each word eight times, rare words took half of 2,500 sentences, and some templates were left with seven."""
    heard = Counter(sentence.template for sentence in spoken_subset(corpus, 2500, seed=0))
    assert heard.keys() == {sentence.template for sentence in corpus.train}
    fair = 2500 / len(heard)
    assert min(heard.values()) > 0.6 * fair, heard
    assert max(heard.values()) < 2.5 * fair, heard


def test_the_spoken_subset_refuses_more_than_there_is(smoke: Corpus) -> None:
    with pytest.raises(ValueError, match="301 sentences to be spoken out of 300"):
        spoken_subset(smoke, 301, seed=0)
    assert len(spoken_subset(smoke, 50, seed=0)) == 50
    assert spoken_subset(smoke, 50, seed=0) == spoken_subset(smoke, 50, seed=0)
    assert spoken_subset(smoke, 50, seed=0) != spoken_subset(smoke, 50, seed=1)


def test_a_seed_decides_everything(smoke: Corpus) -> None:
    assert build_corpus(smoke=True) == smoke
    other = build_corpus(seed=1, smoke=True)
    assert other.train != smoke.train
    assert other.heldout_templates == smoke.heldout_templates


def test_the_smoke_corpus_has_some_of_everything(smoke: Corpus) -> None:
    for part in (*SENTENCES, *QUESTIONS, "dialogues", "pairs", "reading"):
        assert len(getattr(smoke, part)) >= 20, part
    assert sum(len(getattr(smoke, part)) for part in SENTENCES) == 400
    assert {question.kind for question in smoke.questions_test} == {"reformulated", "context", "arithmetic"}
