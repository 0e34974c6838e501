"""Every path of CTC through a few frames, and what it says: the slow truth of sums and searches over paths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor


def all_paths(log_probs: Tensor) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield what each path says, by Graves' collapsing, and its log p, for frames (f v+1) with the blank last."""
    num_frames, num_classes = log_probs.shape
    rows = log_probs.tolist()
    for path in itertools.product(range(num_classes), repeat=num_frames):
        merged = (token for token, _ in itertools.groupby(path))
        score = sum(row[token] for row, token in zip(rows, path, strict=True))
        yield tuple(token for token in merged if token != num_classes - 1), score
