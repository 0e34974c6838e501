"""Words of a closed vocabulary are ranked by all the ways CTC could have written them."""

from __future__ import annotations

from itertools import groupby, product

import pytest
import torch

from amalia_mm.evaluate.hearing import interval
from amalia_mm.evaluate.suites.words import log_likelihoods, rank

BLANK = 3


def by_hand(log_probs, text):
    """The sum over every path of frames that collapses to the text."""
    total = 0.0
    for path in product(range(BLANK + 1), repeat=len(log_probs)):
        if tuple(token for token, _ in groupby(path) if token != BLANK) == tuple(text):
            total += float(sum(log_probs[frame, token] for frame, token in enumerate(path)).exp())
    return total


def test_a_likelihood_is_the_sum_over_all_paths():
    log_probs = torch.randn(4, BLANK + 1).log_softmax(-1)
    texts = [[0], [1, 2], [2, 2], [0, 1, 0], [1, 1, 1]]
    found = log_likelihoods(log_probs, texts)
    assert found.exp().tolist() == pytest.approx([by_hand(log_probs, text) for text in texts], abs=1e-6)
    assert found[-1] == float("-inf")  # three equal ones need five frames


def certain(path):
    """Log probabilities of a clip that is nearly sure of its path."""
    return (
        torch.full((len(path), BLANK + 1), -9.0).scatter_(1, torch.tensor(path)[:, None], 0.0).log_softmax(-1)
    )


def test_what_was_said_is_placed_among_all_that_clips_say():
    encode = {"a": [0], "ba": [1, 0], "cc": [2, 2]}.__getitem__
    clips = [certain([0, BLANK, BLANK]), certain([1, 0, BLANK]), certain([2, 2, BLANK])]
    found = rank(clips, ["a", "ba", "cc"], encode)
    assert [(row.first, row.place) for row in found.rows[:2]] == [("a", 1), ("ba", 1)]
    assert found.rows[2].place > 1  # two c without a blank between them are one
    assert [row.place == 1 for row in found.rows] == [True, True, False]


def test_a_bonus_for_tokens_helps_the_longer_word():
    encode = {"a": [0], "aba": [0, 1, 0]}.__getitem__
    unsure = torch.tensor([[0.5, 0.1, 0.1, 0.3], [0.25, 0.2, 0.05, 0.5], [0.5, 0.1, 0.1, 0.3]]).log()
    short, long = log_likelihoods(unsure, [[0], [0, 1, 0]]).tolist()
    assert short > long
    enough = (short - long) / 2 + 0.01
    assert [row.first for row in rank([unsure] * 2, ["a", "aba"], encode, enough).rows] == ["aba", "aba"]
    assert [row.first for row in rank([unsure] * 2, ["a", "aba"], encode, enough - 0.02).rows] == ["a", "a"]


def test_an_interval_holds_the_rate_and_shrinks_with_more_clips():
    few, many = [(1, 2), (0, 2), (2, 2)] * 4, [(1, 2), (0, 2), (2, 2)] * 100
    (low, high), (closer, nearer) = interval(few), interval(many)
    assert low < 0.5 < high
    assert closer < 0.5 < nearer
    assert nearer - closer < (high - low) / 3
    assert interval(few) == (low, high)
    assert interval([(1, 1)] * 9) == (1.0, 1.0)
