"""The choice of a token follows transformers' processors, which were written from the same papers."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from amalia_mm.errors import InputError
from amalia_mm.text.sampling import Chooser, Sampling, _likelihoods, choose

RULES = [
    Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    for temperature, top_k, top_p, min_p in product(
        (0.6, 1.0, 1.7), (None, 1, 9), (None, 0.2, 0.9), (None, 0.05, 0.4)
    )
]


def processors(rules: Sampling) -> LogitsProcessorList:
    """transformers' own order."""
    found = [TemperatureLogitsWarper(rules.temperature)]
    if rules.top_k is not None:
        found.append(TopKLogitsWarper(rules.top_k))
    if rules.top_p is not None:
        found.append(TopPLogitsWarper(rules.top_p))
    if rules.min_p is not None:
        found.append(MinPLogitsWarper(rules.min_p))
    return LogitsProcessorList(found)


@pytest.mark.parametrize("is_cut", [False, True])
def test_what_may_be_drawn_and_how_likely_it_is_equals_transformers(is_cut):
    rules = [rule for rule in RULES if is_cut or (rule.top_k is None and rule.top_p is None)]
    logits = 2 * torch.randn(len(rules), 50)
    likely, order = _likelihoods(logits, rules, is_cut)
    if order is not None:
        likely = torch.zeros_like(likely).scatter(1, order, likely)
    ids = torch.zeros(1, 1, dtype=torch.int64)
    theirs = torch.cat(
        [processors(rule)(ids, row[None]).softmax(-1) for rule, row in zip(rules, logits, strict=True)]
    )
    torch.testing.assert_close(likely / likely.sum(-1, keepdim=True), theirs)
    assert torch.equal(likely > 0, theirs > 0)


def test_a_repetition_is_punished_as_transformers_does():
    logits, seen = torch.randn(1, 30), [3, 9, 9, 20]
    chooser = Chooser(Sampling(repetition_penalty=1.7), seen, 30)
    ids = torch.tensor([[*seen, 4]])
    chooser.take(4)
    theirs = RepetitionPenaltyLogitsProcessor(1.7)(ids, logits.clone())
    torch.testing.assert_close(chooser.scores(logits[0]), theirs[0])
    assert not torch.equal(theirs, logits)


def test_draws_of_one_row_follow_its_distribution():
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    chooser = Chooser(Sampling(temperature=1.0, min_p=0.2, seed=1), (), 4)
    counts = Counter(choose(logits, [chooser])[0] for _ in range(4000))
    expected = logits[0].softmax(-1)
    expected[expected < 0.2 * expected.max()] = 0.0
    expected /= expected.sum()
    assert counts[1] == counts[2] == 0, "e^-2 is below a fifth"
    for token in (0, 3):
        assert abs(counts[token] / 4000 - float(expected[token])) < 0.03


def test_rows_of_one_seed_are_far_apart():
    seeds = {Sampling(seed=seed).for_row(row).seed for seed in range(3) for row in range(100)}
    assert len(seeds) == 300
    assert Sampling(seed=1).for_row(4) == Sampling(seed=1).for_row(4)


@pytest.mark.parametrize(
    ("field", "value"), [("min_p", -0.1), ("min_p", 1.1), ("repetition_penalty", 0.0), ("temperature", -1.0)]
)
def test_rules_that_make_no_sense_are_refused_by_name(field, value):
    with pytest.raises(InputError, match=f"sampling: {field}: found {value}"):
        Sampling(**{field: value})
