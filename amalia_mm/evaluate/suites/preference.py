"""Preference for European Portuguese: which member of each minimal pair the model finds likelier.

The score of a sentence is its log-likelihood divided by its characters: neither form wins by being short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amalia_mm.assistant import Assistant
from amalia_mm.evaluate.items import MinimalPair
from amalia_mm.evaluate.metrics import HitCount, preferred


@dataclass(frozen=True)
class PairScore:
    """A pair with the log-likelihood for each character of both members, in nats."""

    pair: MinimalPair
    european: float
    brazilian: float

    @property
    def is_european(self) -> bool:
        """Whether the European member is the likelier one."""
        return self.european > self.brazilian


@dataclass(frozen=True)
class PreferenceResult:
    """All pairs, and the share in which the European member is likelier; a tie counts half."""

    scores: tuple[PairScore, ...]

    @property
    def share(self) -> HitCount:
        """Over all pairs."""
        return _share(self.scores)

    @property
    def in_vocabulary(self) -> HitCount:
        """Over the pairs whose European words all stand in the training text."""
        return _share([score for score in self.scores if score.pair.in_vocabulary])

    def by_contrast(self) -> dict[str, HitCount]:
        """Return the share for each contrast, in the order of their names."""
        names = sorted({score.pair.contrast for score in self.scores})
        return {
            name: _share([score for score in self.scores if score.pair.contrast == name]) for name in names
        }


def measure(assistant: Assistant, pairs: Sequence[MinimalPair]) -> PreferenceResult:
    """Return the scores of all pairs."""
    # Each text is scored once: in another batch it may differ in its last digit, and no tie is left.
    texts = sorted({text for pair in pairs for text in (pair.european, pair.brazilian)})
    scores = dict(zip(texts, assistant.log_likelihood(texts), strict=True))
    return PreferenceResult(
        tuple(
            PairScore(
                pair,
                scores[pair.european] / len(pair.european),
                scores[pair.brazilian] / len(pair.brazilian),
            )
            for pair in pairs
        )
    )


def _share(scores: Sequence[PairScore]) -> HitCount:
    return preferred([score.european for score in scores], [score.brazilian for score in scores])
