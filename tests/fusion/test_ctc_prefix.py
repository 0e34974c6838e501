"""Likelihoods of beginnings are sums over all paths: the same as adding up every path by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from all_paths import all_paths

from amalia_mm.fusion import ctc_prefix
from amalia_mm.fusion.ctc_prefix import CtcPrefixes

TOKENS = 2
BLANK = TOKENS
FRAMES = 4
PREFIXES = [prefix for num in range(4) for prefix in itertools.product(range(TOKENS), repeat=num)]


def frames(seed=0, num=FRAMES):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, TOKENS + 1, generator=generator).log_softmax(dim=-1)


def by_hand(log_probs):
    """Every sequence of tokens with its log-likelihood."""
    found = {}
    for said, score in all_paths(log_probs):
        found[said] = np.logaddexp(found.get(said, -np.inf), score)
    return found


@pytest.mark.parametrize("prefix", PREFIXES)
def test_both_likelihoods_are_those_of_all_paths(prefix):
    wanted = by_hand(frames())
    prefixes = CtcPrefixes(frames())
    assert prefixes.whole(prefix) == pytest.approx(wanted.get(prefix, float("-inf")), abs=1e-5)
    begin = [score for said, score in wanted.items() if said[: len(prefix)] == prefix]
    total = float(torch.tensor(begin).logsumexp(0)) if begin else float("-inf")
    assert prefixes.beginning(prefix) == pytest.approx(total, abs=1e-5)


def test_many_at_once_are_as_one_by_one():
    together = CtcPrefixes(frames())
    together.prepare(PREFIXES[::-1])
    for prefix in PREFIXES:
        assert together.whole(prefix) == CtcPrefixes(frames()).whole(prefix)


def test_what_was_forgotten_is_worked_out_again(monkeypatch):
    monkeypatch.setattr(ctc_prefix, "_KEPT_NUMBERS", 0)
    prefixes = CtcPrefixes(frames(num=9))
    long = list(itertools.product(range(TOKENS), repeat=6))
    before = [prefixes.whole(p) for p in long]
    for p in itertools.product(range(TOKENS), repeat=5):
        prefixes.prepare([p])
    assert len(prefixes._known) <= 64 + 33
    assert [prefixes.whole(p) for p in long] == before


def test_without_a_frame_only_nothing_is_said():
    prefixes = CtcPrefixes(frames(num=0))
    assert prefixes.whole(()) == 0.0
    assert prefixes.whole((1,)) == prefixes.beginning((1,)) == float("-inf")


def test_what_is_impossible_stays_so():
    log_probs = frames()
    log_probs[:, 1] = float("-inf")
    prefixes = CtcPrefixes(log_probs)
    assert max(prefixes.beginning((1,)), prefixes.whole((0, 1)), prefixes.beginning((1, 0))) < -9_000
    assert prefixes.beginning((0,)) > -100
