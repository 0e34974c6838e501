"""Losses against slow references written out by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from amalia_mm.batch import IGNORE
from amalia_mm.train.losses import ctc, token_nll


def _slow_ctc(log_probs: Tensor, target: list[int], blank: int) -> float:
    """Sum the probability of every path that collapses to the target (Graves et al. 2006, eq. 3)."""
    total = 0.0
    for path in itertools.product(range(log_probs.shape[1]), repeat=log_probs.shape[0]):
        collapsed = [c for i, c in enumerate(path) if c != blank and (i == 0 or c != path[i - 1])]
        if collapsed == target:
            total += math.exp(sum(float(log_probs[t, c]) for t, c in enumerate(path)))
    return -math.log(total)


def test_ctc_is_the_sum_over_all_paths() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 4)
    num_frames = torch.tensor([5, 4, 5])
    ids = torch.tensor([[0, 1], [2, 2], [0, 0]])
    num_ids = torch.tensor([2, 2, 0])
    expected = sum(
        _slow_ctc(logits[i, : num_frames[i]].log_softmax(-1), ids[i, : num_ids[i]].tolist(), blank=3)
        for i in range(3)
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


def test_without_a_label_every_parameter_of_the_output_layer_still_gets_a_gradient() -> None:
    """An untied output layer without one makes DDP wait for ever, on the process that had nothing to learn."""
    head = nn.Linear(4, 7)
    hidden = torch.randn(2, 3, 4, requires_grad=True)
    loss = token_nll(hidden, torch.full((2, 3), IGNORE), head)
    assert (loss.sum.item(), loss.count.item()) == (0, 0)
    loss.sum.backward()
    for gradient in (hidden.grad, head.weight.grad, head.bias.grad):
        assert gradient is not None and not gradient.any()


def test_clips_whose_text_is_unknown_are_left_out() -> None:
    logits = torch.randn(2, 6, 4)
    ids, num_ids = torch.tensor([[1, 2], [0, 0]]), torch.tensor([2, -1])
    both = ctc(logits, torch.tensor([6, 6]), ids, num_ids)
    alone = ctc(logits[:1], torch.tensor([6]), ids[:1], num_ids[:1])
    assert float(both.sum) == pytest.approx(float(alone.sum), rel=1e-6)
    assert float(both.count) == 2


@pytest.mark.parametrize("chunk_tokens", [1, 3, 100])
def test_token_nll_in_chunks_is_the_plain_sum_with_the_same_gradient(chunk_tokens: int) -> None:
    torch.manual_seed(1)
    head = nn.Linear(8, 11, bias=False)
    hidden = torch.randn(2, 5, 8, requires_grad=True)
    labels = torch.tensor([[1, 2, IGNORE, 4, 0], [IGNORE, IGNORE, 10, 3, IGNORE]])
    expected = torch.zeros(())
    for row, position in itertools.product(range(2), range(5)):
        if labels[row, position] != IGNORE:
            expected = expected - head(hidden[row, position]).log_softmax(-1)[labels[row, position]]
    (expected_grad,) = torch.autograd.grad(expected, hidden)
    loss = token_nll(hidden, labels, head, chunk_tokens=chunk_tokens)
    (grad,) = torch.autograd.grad(loss.sum, hidden)
    assert float(loss.sum.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(loss.count) == 6
    torch.testing.assert_close(grad, expected_grad)


def test_a_batch_without_labels_gives_zero_and_still_a_gradient_path() -> None:
    hidden = torch.randn(1, 3, 4, requires_grad=True)
    loss = token_nll(hidden, torch.full((1, 3), IGNORE), nn.Linear(4, 5))
    loss.sum.backward()
    assert float(loss.sum) == 0 and float(loss.count) == 0
    assert hidden.grad is not None
