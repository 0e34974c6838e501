"""Every loss as (sum, count): the mean is taken once, over the whole global step, by `train/summed.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from amalia_mm.batch import IGNORE


@dataclass(frozen=True)
class Loss:
    """A summed loss and the number of things it was summed over."""

    sum: Tensor
    """() float32, with gradient."""
    count: Tensor
    """() float32."""


def token_nll(
    hidden: Tensor, labels: Tensor, logits: Callable[[Tensor], Tensor], chunk_tokens: int = 8192
) -> Loss:
    """Return the summed negative log-likelihood of the labelled positions.

    Only labelled positions meet the output layer, `chunk_tokens` at a time; with more than one chunk the logits
    are computed again on the way back, so that a vocabulary of 128,000 never stands in memory whole.

    Args:
        hidden: (b t d), after the decoder's final norm.
        labels: (b t) int64, already shifted, `IGNORE` where there is no loss.
        logits: Maps (n d) to (n v).
        chunk_tokens: Positions whose logits exist at the same time.
    """
    wanted = labels != IGNORE
    hidden, targets = hidden[wanted], labels[wanted]
    count = wanted.sum().float()
    if len(targets) == 0:
        # Every trained parameter gets a gradient, an untied output layer too: without one DDP waits for ever.
        return Loss(logits(hidden).float().sum(), count)

    def chunk_nll(states: Tensor, chunk_targets: Tensor) -> Tensor:
        return F.cross_entropy(logits(states).float(), chunk_targets, reduction="sum")

    if len(targets) <= chunk_tokens:
        return Loss(chunk_nll(hidden, targets), count)
    total = hidden.new_zeros((), dtype=torch.float32)
    for states, chunk_targets in zip(hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True):
        total = total + checkpoint(chunk_nll, states, chunk_targets, use_reentrant=False)
    return Loss(total, count)


@dataclass(frozen=True)
class CtcLoss(Loss):
    """A CTC loss, and how many clips were too short for what is said in them."""

    num_too_short: Tensor
    """() float32; such clips give no gradient, and the count is logged."""


def ctc(logits: Tensor, num_frames: Tensor, ids: Tensor, num_ids: Tensor) -> CtcLoss:
    """Return the summed connectionist temporal classification loss, counted in target tokens (Graves et al. 2006).

    A clip in which nothing is said (`num_ids` 0) counts as one: all of its frames should be blank.

    Args:
        logits: (k f v+1); the last class is the blank.
        num_frames: (k) int64.
        ids: (k c) int64 targets.
        num_ids: (k) int64; -1 leaves a clip out.
    """
    wanted = num_ids >= 0
    lengths = num_ids.clamp(min=0)
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    each = F.ctc_loss(
        log_probs, ids, num_frames, lengths, blank=logits.shape[-1] - 1, reduction="none", zero_infinity=True
    )
    too_short = wanted & (num_frames < lengths + _num_repeats(ids, lengths))
    used = wanted & ~too_short
    count = torch.where(used, lengths.clamp(min=1), 0).sum().float()
    return CtcLoss(torch.where(used, each, 0.0).sum(), count, too_short.sum().float())


def _num_repeats(ids: Tensor, lengths: Tensor) -> Tensor:
    """Return how many neighbours are equal in each target: CTC needs a blank between them, one frame more."""
    if ids.shape[1] < 2:
        return torch.zeros_like(lengths)
    inside = torch.arange(1, ids.shape[1], device=ids.device)[None, :] < lengths[:, None]
    return ((ids[:, 1:] == ids[:, :-1]) & inside).sum(1)
