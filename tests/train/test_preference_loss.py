"""The loss of pairs against the formula of the paper, written out pair by pair, and what is watched beside it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from amalia_mm.batch import IGNORE
from amalia_mm.train.preference_loss import PreferenceObjective, exact_answers, score_documents

VOCAB, WIDTH = 11, 6
DOCUMENTS = torch.tensor([[1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 0], [1, 1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0]])
LABELS = torch.tensor(
    [
        [IGNORE, 3, 4, IGNORE, 3, 5, 1, 7, 2, 8, IGNORE, IGNORE],
        [IGNORE, 9, 9, 1, IGNORE, 2, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE],
    ]
)


@pytest.fixture
def head() -> nn.Linear:
    return nn.Linear(WIDTH, VOCAB, bias=False)


@pytest.fixture
def hidden() -> Tensor:
    return torch.randn(2, 12, WIDTH, requires_grad=True)


def slow_log_probs(hidden: Tensor, head: nn.Linear) -> Tensor:
    """Sum log softmax of each labelled token, one position at a time."""
    found = [[torch.zeros(()) for _ in range(4)] for _ in range(2)]
    for row in range(2):
        for position in range(12):
            label, document = int(LABELS[row, position]), int(DOCUMENTS[row, position])
            if label != IGNORE:
                log_softmax = head(hidden[row, position]).log_softmax(-1)
                found[row][document - 1] = found[row][document - 1] + log_softmax[label]
    return torch.stack([torch.stack(row) for row in found])


def slow_dpo(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta ((log pi_w - log pi_l) - (log ref_w - log ref_l))), as trl's "sigmoid" loss has it."""
    total = torch.zeros(())
    for row, pair in ((0, 0), (0, 1), (1, 0)):
        pi_logratio = policy[row, 2 * pair] - policy[row, 2 * pair + 1]
        ref_logratio = reference[row, 2 * pair] - reference[row, 2 * pair + 1]
        total = total - torch.log(torch.sigmoid(beta * (pi_logratio - ref_logratio)))
    return total


@pytest.mark.parametrize("chunk_tokens", [1, 4, 100])
def test_log_probs_and_the_loss_are_the_slow_ones_with_the_same_gradients(
    head: nn.Linear, hidden: Tensor, chunk_tokens: int
) -> None:
    reference = torch.randn(2, 4)
    scores = score_documents(hidden, LABELS, DOCUMENTS, head, chunk_tokens)
    slow = slow_log_probs(hidden, head)
    torch.testing.assert_close(scores.log_probs, slow)
    assert scores.num_tokens.tolist() == [[2, 3, 2, 1], [3, 1, 0, 0]]
    loss = PreferenceObjective(beta=0.3).terms(scores, reference)["loss"]
    wanted = slow_dpo(slow, reference, 0.3)
    assert float(loss.count) == 3
    torch.testing.assert_close(loss.sum, wanted)
    given, slowly = (torch.autograd.grad(value, (hidden, head.weight)) for value in (loss.sum, wanted))
    for one, other in zip(given, slowly, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_model_that_is_its_own_reference_has_the_loss_of_a_coin(head: nn.Linear, hidden: Tensor) -> None:
    scores = score_documents(hidden, LABELS, DOCUMENTS, head)
    terms = PreferenceObjective(beta=0.3).terms(scores, scores.log_probs.detach())
    assert float(terms["loss"].sum) == pytest.approx(3 * math.log(2), rel=1e-6)
    assert float(terms["margin"].sum) == 0
    assert float(terms["accuracy"].sum) == 1.5, "a tie counts half"


def test_what_is_watched_by_hand(head: nn.Linear, hidden: Tensor) -> None:
    scores = score_documents(hidden, LABELS, DOCUMENTS, head)
    own = scores.log_probs.detach()
    reference = own.clone()
    reference[0, 0] -= 2.0  # the first pair's chosen side went up by 2, the second's down by 1
    reference[0, 2] += 1.0
    terms = PreferenceObjective(beta=0.5).terms(scores, reference)
    assert float(terms["margin"].sum) == pytest.approx(0.5 * (2 - 1 + 0), abs=1e-6)
    assert float(terms["accuracy"].sum) == 1.5
    assert float(terms["chosen"].sum) == pytest.approx(float(own[0, 0] + own[0, 2] + own[1, 0]), rel=1e-6)
    assert float(terms["rejected"].sum) == pytest.approx(float(own[0, 1] + own[0, 3] + own[1, 1]), rel=1e-6)
    assert float(terms["nll"].count) == 2 + 2 + 3


def test_by_length_each_side_is_divided_by_its_own_tokens(head: nn.Linear, hidden: Tensor) -> None:
    scores = score_documents(hidden, LABELS, DOCUMENTS, head)
    own = scores.log_probs.detach()
    reference = own - torch.tensor([[2.0, 3.0, 2.0, 1.0], [3.0, 1.0, 0.0, 0.0]])  # one nat for every token
    terms = PreferenceObjective(beta=1.0, by_length=True).terms(scores, reference)
    assert float(terms["margin"].sum) == pytest.approx(0, abs=1e-6)
    assert float(PreferenceObjective(beta=1.0).terms(scores, reference)["margin"].sum) == pytest.approx(
        2, abs=1e-5
    )


def test_the_sft_term_is_the_chosen_side_a_token(head: nn.Linear, hidden: Tensor) -> None:
    scores = score_documents(hidden, LABELS, DOCUMENTS, head)
    own = scores.log_probs
    with_term = PreferenceObjective(beta=0.3, sft_weight=0.5).terms(scores, own.detach())["loss"].sum
    wanted = 3 * math.log(2) - 0.5 * (own[0, 0] / 2 + own[0, 2] / 2 + own[1, 0] / 3)
    torch.testing.assert_close(with_term, wanted)
    (gradient,) = torch.autograd.grad(with_term, own, retain_graph=True)
    assert gradient[0, 0] == pytest.approx(-0.3 / 2 - 0.5 / 2)


def test_a_batch_without_labels_counts_nothing_and_still_reaches_every_parameter(
    head: nn.Linear, hidden: Tensor
) -> None:
    """A process that has nothing to learn must take part in the gradients, or DDP waits for ever."""
    scores = score_documents(hidden, torch.full_like(LABELS, IGNORE), DOCUMENTS, head)
    terms = PreferenceObjective(sft_weight=1.0).terms(scores, torch.zeros(2, 4))
    assert {name: (float(t.sum), float(t.count)) for name, t in terms.items()} == dict.fromkeys(
        terms, (0.0, 0.0)
    )
    terms["loss"].sum.backward()
    for gradient in (hidden.grad, head.weight.grad):
        assert gradient is not None and not gradient.any()


def test_an_answer_is_exact_where_greedy_choice_writes_every_token_of_it(hidden: Tensor) -> None:
    head = nn.Linear(WIDTH, VOCAB, bias=False)
    best = head(hidden).argmax(-1)
    labels = torch.where(LABELS == IGNORE, LABELS, best)
    assert float(exact_answers(score_documents(hidden, labels, DOCUMENTS, head)).sum) == 6
    labels[0, 1] = (labels[0, 1] + 1) % VOCAB  # one wrong token spoils its document and no other
    found = exact_answers(score_documents(hidden, labels, DOCUMENTS, head))
    assert (float(found.sum), float(found.count)) == (5, 6)
