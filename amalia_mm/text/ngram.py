"""How likely a token is after those before it, counted in a small text: a back-off model of n-grams.

Where there is text but too little for a network, counting is enough. It knows token ids and nothing else.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

END = -1
"""Stands after the last token of a text; the same number stands before its first."""


class Ngrams:
    """Interpolated n-grams with Witten-Bell's weights (Chen and Goodman 1998, 2.6): no constants to choose.

    Args:
        texts: The tokens of each text.
        order: How many tokens an n-gram has, at most.
        num_tokens: Size of the vocabulary, over which what was never seen is spread evenly.
    """

    def __init__(self, texts: Iterable[Sequence[int]], order: int, num_tokens: int) -> None:
        if order < 1 or num_tokens < 1:
            raise ValueError(f"order {order} and num_tokens {num_tokens} must be at least 1")
        self.order = order
        self._unseen = 1.0 / (num_tokens + 1)
        self._after: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for text in texts:
            padded = [*[END] * (order - 1), *text, END]
            for place in range(order - 1, len(padded)):
                for length in range(order):
                    self._after[tuple(padded[place - length : place])][padded[place]] += 1
        self._totals = {context: sum(counts.values()) for context, counts in self._after.items()}
        self._known: dict[tuple[int, ...], float] = {}

    def log_prob(self, before: Sequence[int], token: int) -> float:
        """Return log p of a token (or `END`) after all those of its text before it, in nats."""
        start = [*[END] * (self.order - 1), *before]
        context = tuple(start[len(start) - self.order + 1 :])
        key = (*context, token)
        if key not in self._known:
            self._known[key] = math.log(self._probability(context, token))
        return self._known[key]

    def _probability(self, context: tuple[int, ...], token: int) -> float:
        below = self._probability(context[1:], token) if context else self._unseen
        total = self._totals.get(context)
        if total is None:
            return below
        counts = self._after[context]
        return (counts[token] + len(counts) * below) / (total + len(counts))
