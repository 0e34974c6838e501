"""Losses against slow references written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from all_paths import all_paths
from torch import Tensor

from amalia_mm.train.losses import ctc


def _slow_ctc(log_probs: Tensor, target: list[int]) -> float:
    """Sum the probability of every path that collapses to the target (Graves et al. 2006, eq. 3)."""
    scores = [score for said, score in all_paths(log_probs) if said == tuple(target)]
    return -math.log(sum(map(math.exp, scores)))


def test_ctc_is_the_sum_over_all_paths() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 4)
    num_frames = torch.tensor([5, 4, 5])
    ids = torch.tensor([[0, 1], [2, 2], [0, 0]])
    num_ids = torch.tensor([2, 2, 0])
    expected = sum(
        _slow_ctc(logits[i, : num_frames[i]].log_softmax(-1), ids[i, : num_ids[i]].tolist()) for i in range(3)
    )
    loss = ctc(logits, num_frames, ids, num_ids)
    assert float(loss.sum) == pytest.approx(expected, rel=1e-5)
    assert float(loss.count) == 2 + 2 + 1  # silence counts as one


def test_a_clip_too_short_for_its_text_is_counted_and_gives_no_gradient() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    # "1 1 1" needs five frames: a blank stands between equal neighbours.
    loss = ctc(logits, torch.tensor([3, 3]), torch.tensor([[1, 1, 1], [0, 1, 0]]), torch.tensor([3, 2]))
    assert float(loss.num_too_short) == 1
    assert float(loss.count) == 2
    loss.sum.backward()
    assert logits.grad is not None
    assert float(logits.grad[0].abs().sum()) == 0
    assert float(logits.grad[1].abs().sum()) > 0


def test_clips_whose_text_is_unknown_are_left_out() -> None:
    logits = torch.randn(2, 6, 4)
    ids, num_ids = torch.tensor([[1, 2], [0, 0]]), torch.tensor([2, -1])
    both = ctc(logits, torch.tensor([6, 6]), ids, num_ids)
    alone = ctc(logits[:1], torch.tensor([6]), ids[:1], num_ids[:1])
    assert float(both.sum) == pytest.approx(float(alone.sum), rel=1e-6)
    assert float(both.count) == 2
