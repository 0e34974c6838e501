"""Direct preference optimisation as sums and counts: log-probabilities of whole texts, and the loss of pairs.

It knows nothing of models: hidden states, labels and document numbers come in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from amalia_mm.batch import IGNORE
from amalia_mm.train.losses import Loss

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TextScores:
    """What a model thinks of the labelled tokens of every document of a batch; s documents in the fullest row."""

    log_probs: Tensor
    """(b s) float32, summed over the labelled tokens; 0 where there are none."""
    num_tokens: Tensor
    """(b s) float32, labelled tokens."""
    is_exact: Tensor
    """(b s) bool: every labelled token is the likeliest one, so greedy generation would write just them."""


def score_documents(
    hidden: Tensor, labels: Tensor, documents: Tensor, logits: Logits, chunk_tokens: int = 8192
) -> TextScores:
    """Return log p of the labelled tokens of each document, with gradient, and whether greedy choice gives them.

    Only labelled positions meet the output layer, `chunk_tokens` at a time; with more than one chunk the logits are
    computed again on the way back.

    Args:
        hidden: (b t d), after the decoder's final norm.
        labels: (b t) int64, already shifted, `IGNORE` where there is no loss.
        documents: (b t) int64, 0 on padding, from 1 in each row.
        logits: Maps (n d) to (n v).
        chunk_tokens: Positions whose logits exist at the same time.
    """
    wanted = labels != IGNORE
    states, targets = hidden[wanted], labels[wanted]
    num_rows, num_documents = len(documents), max(int(documents.max()), 1)
    row = torch.arange(num_rows, device=documents.device)[:, None].expand_as(documents)
    place = (row * num_documents + documents - 1)[wanted]

    def score(some: Tensor, some_targets: Tensor) -> tuple[Tensor, Tensor]:
        found = logits(some).float()
        return -F.cross_entropy(found, some_targets, reduction="none"), found.detach().argmax(
            -1
        ) == some_targets

    if len(targets) <= chunk_tokens:
        parts = [score(states, targets)]
    else:
        chunks = zip(states.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
        parts = [checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks]
    each, is_right = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    zeros = each.new_zeros(num_rows * num_documents)
    log_probs = zeros.index_add(0, place, each)
    num_tokens = zeros.index_add(0, place, torch.ones_like(each))
    num_right = zeros.index_add(0, place, is_right.float())
    whole = (log_probs, num_tokens, (num_right == num_tokens) & (num_tokens > 0))
    return TextScores(*(rearrange(value, "(b s) -> b s", b=num_rows) for value in whole))


def sides(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return what stands on the chosen and on the rejected side, (b p) each, of (b s) values of documents.

    In rows of pairs documents 1, 3, 5, ... are chosen and the next one of each is its rejected side.
    """
    even = F.pad(scores, (0, scores.shape[1] % 2))
    chosen, rejected = rearrange(even, "b (p side) -> side b p", side=2)
    return chosen, rejected


@dataclass(frozen=True)
class PreferenceObjective:
    """What is minimised over pairs.

    Args:
        beta: How strongly the reference holds: small lets the model go far from it.
        sft_weight: Weight of the chosen side's negative log-likelihood a token, beside the preference; 0 leaves it out.
        by_length: Divide the log-ratios of each side by its tokens, so that longer texts weigh no more.

    Source:
        Rafailov et al. 2023, "Direct Preference Optimization", eq. 7 (sigmoid loss); the term on the chosen side as in
        Pang et al. 2024, "Iterative Reasoning Preference Optimization", eq. 2; division by length as in Lambert et al.
        2024, "Tülu 3", section 5.1.2.
    """

    beta: float = 0.1
    sft_weight: float = 0.0
    by_length: bool = False

    def terms(self, policy: TextScores, reference: Tensor) -> dict[str, Loss]:
        """Return the loss summed over pairs, and what is to be watched.

        `loss` is what is minimised, `dpo` the preference alone; `margin` is beta times how much further the chosen side
        moved from the reference than the rejected one, `accuracy` the share of pairs where it did (a tie counts half);
        `chosen` and `rejected` are log-probabilities of a side, `nll` that of the chosen side a token.

        Args:
            policy: Scores of rows of pairs.
            reference: (b s) log-probabilities of the same documents under the reference, without gradient.
        """
        (chosen, rejected), tokens = sides(policy.log_probs), sides(policy.num_tokens)
        is_pair = (tokens[0] > 0) & (tokens[1] > 0)
        moved = sides(policy.log_probs - reference)
        if self.by_length:
            moved = moved[0] / tokens[0].clamp(min=1), moved[1] / tokens[1].clamp(min=1)
        margin = self.beta * (moved[0] - moved[1])
        dpo, nll = -F.logsigmoid(margin), -chosen / tokens[0].clamp(min=1)
        pairs = is_pair.sum().float()

        def total(values: Tensor) -> Tensor:
            return torch.where(is_pair, values, 0.0).sum()

        watched = {
            "dpo": dpo,
            "margin": margin,
            "accuracy": (margin > 0).float() + 0.5 * (margin == 0).float(),
            "chosen": chosen,
            "rejected": rejected,
        }
        return {
            "loss": Loss(total(dpo + self.sft_weight * nll) if self.sft_weight else total(dpo), pairs),
            **{name: Loss(total(values.detach()), pairs) for name, values in watched.items()},
            "nll": Loss(-total(chosen.detach()), total(tokens[0])),
        }


def exact_answers(scores: TextScores) -> Loss:
    """Return how many documents of labelled answers would be written exactly, over how many there are."""
    return Loss(scores.is_exact.sum().float(), (scores.num_tokens > 0).sum().float())
