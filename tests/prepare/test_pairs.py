"""Minimal pairs: every strong contrast, the markers on the right side only, and little else that differs."""

from __future__ import annotations

import random
import re
from itertools import takewhile

import pytest

from amalia_mm.portuguese.contrast import find_markers, load_contrasts, markers
from amalia_mm.portuguese.normalise import words
from amalia_mm.prepare.grammar import Grammar
from amalia_mm.prepare.pairs import Pair, build_pairs

CONTRASTS = load_contrasts()
MOST_WORDS_APART = 7


@pytest.fixture(scope="module")
def vocabulary() -> frozenset[str]:
    grammar = Grammar.load()
    return grammar.vocabulary(name for name in grammar.templates if name not in grammar.heldout)


@pytest.fixture(scope="module")
def pairs(vocabulary: frozenset[str]) -> tuple[Pair, ...]:
    return build_pairs(random.Random(0), vocabulary)


def test_every_strong_contrast_has_its_pair(pairs: tuple[Pair, ...]) -> None:
    strong = {contrast.european[0] for contrast in CONTRASTS if contrast.flag == "S"}
    assert {pair.contrast for pair in pairs if not pair.contrast.startswith("grammar/")} == strong
    assert len({pair.contrast for pair in pairs if pair.contrast.startswith("grammar/")}) >= 12
    assert len(pairs) >= 300


def test_markers_stand_on_their_own_side(pairs: tuple[Pair, ...]) -> None:
    european, brazilian = markers(CONTRASTS, "european"), markers(CONTRASTS, "brazilian")
    for pair in pairs:
        assert not find_markers(pair.european, brazilian), pair
        if not pair.contrast.startswith("grammar/"):
            assert not find_markers(pair.brazilian, european), pair


def test_a_lexical_pair_shows_the_two_forms_of_its_row(pairs: tuple[Pair, ...]) -> None:
    rows = {contrast.european[0]: contrast for contrast in CONTRASTS if contrast.flag == "S"}
    for pair in pairs:
        if pair.contrast in rows:
            row = rows[pair.contrast]
            brazilian = markers([row], "brazilian") | {form.split()[0].lower() for form in row.brazilian}
            assert any(word[:4] in pair.european.lower() for word in row.european[0].lower().split()), pair
            assert any(form[:4] in pair.brazilian.lower() for form in brazilian), pair


def num_shared(one: list[str], other: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def test_only_the_contrast_differs(pairs: tuple[Pair, ...]) -> None:
    for pair in pairs:
        european, brazilian = words(pair.european), words(pair.brazilian)
        assert european != brazilian, pair
        start = num_shared(european, brazilian)
        end = num_shared(european[start:][::-1], brazilian[start:][::-1])
        assert max(len(european), len(brazilian)) - start - end <= MOST_WORDS_APART, pair
        assert pair.european[-1] == pair.brazilian[-1], pair


def test_a_pair_says_whether_training_has_its_words(
    pairs: tuple[Pair, ...], vocabulary: frozenset[str]
) -> None:
    known = [pair for pair in pairs if pair.in_vocabulary]
    assert len(known) >= 100
    assert all(set(words(pair.european)) <= vocabulary for pair in known)
    assert not build_pairs(random.Random(0), ())[0].in_vocabulary


def test_pairs_are_written_with_care(pairs: tuple[Pair, ...]) -> None:
    assert len({pair.european for pair in pairs}) == len(pairs)
    for pair in pairs:
        for text in (pair.european, pair.brazilian):
            assert re.fullmatch(r"[A-ZÀ-Ú][^<>|{}\[\]]*[.?!]", text), text
            assert "  " not in text, text
