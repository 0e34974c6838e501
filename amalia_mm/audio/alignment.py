"""When each target of a CTC head is said, given what is said: forced alignment. Knows nothing of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """The frames `[start_frame:end_frame]` that say a target, and their mean posterior of it."""

    start_frame: int
    end_frame: int
    confidence: float


@dataclass(frozen=True)
class Alignment:
    """The likeliest path through all frames that says the targets: a span for each, and log p of the path in nats."""

    spans: tuple[Span, ...]
    log_p: float


def align(log_probs: Tensor, targets: Sequence[int]) -> Alignment | None:
    """Return when each target is said; None where the frames are too few for them, or there are no targets.

    Args:
        log_probs: (f c) log p of every class in every frame, the blank last.
        targets: The classes said, in order, without blanks.

    Raises:
        ValueError: A target is not a class, or is the blank.
    """
    num_frames, num_classes = log_probs.shape
    blank = num_classes - 1
    if any(not 0 <= target < blank for target in targets):
        raise ValueError(f"targets {sorted(set(targets))} are not all between 0 and {blank - 1}")
    # Between a target and its repetition there must be a blank.
    num_repeats = sum(one == other for one, other in pairwise(targets))
    if not targets or len(targets) + num_repeats > num_frames:
        return None
    # Imported here: torchaudio loads its own libraries, which only this needs.
    from torchaudio.functional import forced_align, merge_tokens

    scores = log_probs.detach().to("cpu", torch.float32).contiguous()
    path, likelihoods = forced_align(scores[None], torch.tensor([targets], dtype=torch.int32), blank=blank)
    merged = merge_tokens(path[0], likelihoods[0].exp(), blank=blank)
    spans = (Span(span.start, span.end, min(span.score, 1.0)) for span in merged)
    return Alignment(tuple(spans), float(likelihoods.sum()))
