"""A model of n-grams is a probability, and knows what it counted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.text.ngram import END, Ngrams

TEXTS = st.lists(st.lists(st.integers(0, 4), max_size=6), max_size=6)


@given(TEXTS, st.integers(1, 4), st.lists(st.integers(0, 4), max_size=5))
def test_the_next_token_or_the_end_has_probability_one_in_all(texts, order, before):
    model = Ngrams(texts, order, num_tokens=5)
    total = sum(math.exp(model.log_prob(before, token)) for token in (*range(5), END))
    assert total == pytest.approx(1.0)


def test_witten_and_bell_by_hand():
    # Of order 1: a, a, b and two ends were seen, three kinds in five; the uniform share is 1 of 4.
    model = Ngrams([[0, 0], [1]], order=1, num_tokens=3)
    assert math.exp(model.log_prob([], 0)) == pytest.approx((2 + 3 * 0.25) / (5 + 3))
    assert math.exp(model.log_prob([2, 2], 2)) == pytest.approx((0 + 3 * 0.25) / (5 + 3))
    # Of order 2, after a: another a and an end, two kinds in two, backed by the above.
    model = Ngrams([[0, 0], [1]], order=2, num_tokens=3)
    assert math.exp(model.log_prob([0], 0)) == pytest.approx((1 + 2 * (2.75 / 8)) / (2 + 2))


def test_a_text_that_was_counted_is_likelier_than_its_letters_in_another_order():
    texts = [[0, 1, 2, 3], [0, 1, 2, 4], [3, 1]]
    model = Ngrams(texts, order=3, num_tokens=5)

    def whole(text):
        return sum(model.log_prob(text[:place], token) for place, token in enumerate([*text, END]))

    assert whole([0, 1, 2, 3]) > whole([3, 2, 1, 0]) + 3


def test_an_order_of_nothing_is_refused():
    with pytest.raises(ValueError, match="order 0"):
        Ngrams([[0]], order=0, num_tokens=2)
