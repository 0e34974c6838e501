"""Losses against slow references written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from all_paths import all_paths
from torch import Tensor

from amalia_mm.train.losses import consistency, ctc


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


def test_consistency_is_the_divergence_of_each_view_from_the_other() -> None:
    """By hand: p = (3/4, 1/4) and q = (1/4, 3/4) are 1/2 ln 3 apart both ways; frames beyond a clip do not count."""
    first, second = torch.tensor([0.75, 0.25]).log(), torch.tensor([0.25, 0.75]).log()
    logits = torch.stack([torch.stack([first, first]), torch.stack([second, first])])
    apart = consistency(logits, torch.tensor([2, 2]))
    assert float(apart.sum) == pytest.approx(2 * 0.5 * math.log(3))
    assert float(apart.count) == 4
    assert float(consistency(logits[:, [1, 0]], torch.tensor([1, 1])).sum) == pytest.approx(0.0, abs=1e-6)


def test_what_a_view_is_drawn_to_is_not_drawn_back() -> None:
    """Each view moves as if the other were a label: the gradient of cross-entropy, softmax less label."""
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    consistency(logits, torch.tensor([3, 3])).sum.backward()
    posterior = logits.detach().softmax(-1)
    torch.testing.assert_close(logits.grad, posterior - posterior.flip(0))


def test_two_views_of_different_length_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\[3\] and \[2\] frames"):
        consistency(torch.zeros(2, 3, 4), torch.tensor([3, 2]))
