"""Sentences to read only: every strong contrast in use, the weak grammar, and nothing that is Brazilian."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from amalia_mm.portuguese.contrast import find_markers, load_contrasts, markers
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.corpus import Corpus, build_corpus
from amalia_mm.prepare.pairs import build_pairs
from amalia_mm.prepare.reading import build_reading
from amalia_mm.prepare.text_shards import READING_TIMES, _reading  # pyright: ignore[reportPrivateUsage]

MIN_USES = 6


@pytest.fixture(scope="module")
def pair_members() -> frozenset[str]:
    pairs = build_pairs(random.Random(0), ())
    return frozenset(spoken_form(text) for pair in pairs for text in (pair.european, pair.brazilian))


@pytest.fixture(scope="module")
def reading(pair_members: frozenset[str]) -> tuple[str, ...]:
    return build_reading(random.Random(0), pair_members)


@pytest.fixture(scope="module")
def smoke() -> Corpus:
    return build_corpus(smoke=True)


def test_every_strong_contrast_is_read_often_enough(reading: tuple[str, ...]) -> None:
    spoken = [f" {spoken_form(text)} " for text in reading]
    rare: dict[str, int] = {}
    for row in (contrast for contrast in load_contrasts() if contrast.flag == "S"):
        form = spoken_form(row.european[0])
        uses = sum(f" {form} " in text for text in spoken)
        if uses < MIN_USES:
            rare[form] = uses
    assert rare == {}


@pytest.mark.parametrize(
    "form",
    [
        r"\b(num|numa|nuns|numas|dum|duma)\b",
        r"\b\w+[eio]-(o|a|os|as)\b|\bfi-l[oa]\b",
        r"\b(vou|vamos|fui|fomos|vai|foi|chegou|che\w+|v[eio]\w+) (a|ao|à|aos) ",
        r"\w+[ráêíô]-(te|me|lhe|lo|la|los|las)\b",
    ],
    ids=["contraction", "accusative", "going", "infinitive"],
)
def test_the_weak_contrasts_of_grammar_are_read_often(reading: tuple[str, ...], form: str) -> None:
    assert sum(bool(re.search(form, spoken_form(text))) for text in reading) >= 60


def test_no_brazilian_form_is_read(reading: tuple[str, ...]) -> None:
    brazilian = markers(load_contrasts(), "brazilian") | {"você", "vocês", "em um", "em uma"}
    assert [text for text in reading if find_markers(text, brazilian)] == []
    assert [text for text in reading if re.search(r"\b(vi|encontrei|conheço) el[ea]\b", text.lower())] == []


def test_no_sentence_is_a_member_of_a_pair_or_stands_twice(
    reading: tuple[str, ...], pair_members: frozenset[str]
) -> None:
    spoken = [spoken_form(text) for text in reading]
    assert not pair_members & set(spoken)
    assert len(set(spoken)) == len(spoken)
    taken = set(spoken[:100])
    assert not taken & {spoken_form(text) for text in build_reading(random.Random(0), taken)}


def test_they_are_written_with_care(reading: tuple[str, ...]) -> None:
    for text in reading:
        assert re.fullmatch(r"[A-ZÀ-Ú][^<>|{}\[\]/]*[.?!]", text), text
        assert "  " not in text, text


def test_articles_and_adjectives_agree() -> None:
    reading = set(build_reading(random.Random(0), ()))
    assert {"A portagem é nova.", "O camião é novo.", "As chávenas são novas.", "O puré é bom."} <= reading
    assert not {"A portagem é novo.", "O camião é nova."} & reading


def test_what_is_read_is_outside_the_vocabulary_of_speech(smoke: Corpus) -> None:
    assert len(smoke.reading) == 40
    unspoken = {word for text in smoke.reading for word in spoken_form(text).split()} - smoke.vocabulary
    assert unspoken


def test_documents_hold_each_sentence_equally_often_in_other_company() -> None:
    sentences = [f"Frase número {number}." for number in range(50)]
    documents = list(_reading(sentences, random.Random(0)))
    uses = Counter(text.strip() + "." for document in documents for text in document.split(".") if text)
    assert uses == dict.fromkeys(sentences, READING_TIMES)
    assert len(set(documents)) == len(documents)
    assert all(document.count(".") <= 8 for document in documents)
