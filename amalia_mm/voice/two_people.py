"""Whether recordings are of two people: the two groups of them that differ most, and how like these are.

One recording beside all the others is not enough: where half are somebody else's, each is as like to the middle as the
others. It knows vectors, and neither files nor advice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amalia_mm.voice.speaker import enrolled, similarity

_ROUNDS = 20


@dataclass(frozen=True)
class TwoGroups:
    """Recordings in two groups, each nearer to the middle of its own."""

    fewer: tuple[int, ...]
    """Which are in the smaller group."""
    similarity: float
    """Of the middles of both."""


def two_groups(vectors: Tensor) -> TwoGroups:
    """Return how recordings fall apart, of their vectors (b e), two or more.

    Two means, from the two that are least alike (Lloyd 1982).
    """
    alike = vectors @ vectors.T
    one, other = divmod(int(alike.argmin()), len(vectors))
    if one == other:  # every one the same
        other = (one + 1) % len(vectors)
    is_other = alike[other] > alike[one]
    is_other[other] = True
    is_other[one] = False
    middles = vectors[[one, other]]
    for _ in range(_ROUNDS):
        middles = torch.stack([enrolled(vectors[~is_other]), enrolled(vectors[is_other])])
        nearer = similarity(middles[1], vectors) > similarity(middles[0], vectors)
        if nearer.all() or not nearer.any() or torch.equal(nearer, is_other):
            break
        is_other = nearer
    smaller = is_other if 2 * int(is_other.sum()) <= len(vectors) else ~is_other
    return TwoGroups(tuple(smaller.nonzero().flatten().tolist()), float(similarity(middles[0], middles[1])))
