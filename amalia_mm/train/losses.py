"""Every loss as (sum, count): the mean is taken once, over the whole global step, by `train/summed.py`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from amalia_mm.batch import IGNORE
from amalia_mm.train.chunked_nll import ChunkedNll


@dataclass(frozen=True)
class Loss:
    """A summed loss and the number of things it was summed over."""

    sum: Tensor
    """() float32, with gradient."""
    count: Tensor
    """() float32."""


@dataclass(frozen=True)
class TokenLoss(Loss):
    """A next-token loss, and what of it each position has."""

    each: Tensor
    """(b t) float32, the negative log-likelihood of each label, 0 where there is none; without gradient."""


def token_nll(
    hidden: Tensor, weight: Tensor, labels: Tensor, z_weight: float = 0.0, chunk_logits: int = 2**25
) -> TokenLoss:
    """Return the summed negative log-likelihood of the labelled positions, and z-loss where it is asked for.

    Only labelled positions meet the output layer, some at a time: a vocabulary of 128,000 never stands in memory
    whole. The gradients are taken on the way (`train/chunked_nll.py`).

    Args:
        hidden: (b t d), after the decoder's final norm.
        weight: (v d), the output layer; under FSDP2 it is whole inside of `Decoder.at_output` only.
        labels: (b t) int64, already shifted, `IGNORE` where there is no loss.
        z_weight: Weight of the squared logarithm of the softmax's normaliser, which keeps logits from drifting
            (PaLM: Chowdhery et al. 2022, arXiv 2204.02311, section 5, with 1e-4).
        chunk_logits: Most logits that exist at the same time.
    """
    wanted = labels != IGNORE
    targets = labels[wanted]
    # With no label at all there is still a gradient, of zeros: without one DDP waits for ever.
    chunk_tokens = max(1, chunk_logits // len(weight))
    total, each = ChunkedNll.apply(
        hidden[wanted], weight, targets, z_weight, chunk_tokens, torch.is_grad_enabled()
    )
    spread = each.new_zeros(labels.shape).masked_scatter_(wanted, each)
    return TokenLoss(total, wanted.sum().float(), spread)


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


def additive_margin(scores: Tensor, classes: Tensor, margin: float, scale: float) -> Loss:
    """Return the summed additive-margin softmax loss (Wang et al. 2018, arXiv 1801.05599, equation 5).

    The right class must be ahead of every other by the margin before the loss is small.

    Args:
        scores: (b s) cosines with each class.
        classes: (b) int64, `IGNORE` where there is no loss.
        margin: Taken from the right class's cosine.
        scale: Of the cosines, before the softmax.
    """
    wanted = classes != IGNORE
    right = F.one_hot(classes.clamp(min=0), scores.shape[1]).to(scores.dtype)
    logits = scale * (scores.float() - margin * right)
    total = F.cross_entropy(logits, classes, ignore_index=IGNORE, reduction="sum")
    return Loss(total, wanted.sum().float())
