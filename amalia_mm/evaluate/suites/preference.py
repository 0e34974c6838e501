"""Preference for European Portuguese: which member of each minimal pair the model finds likelier.

The score of a sentence is its log-likelihood divided by its characters: neither form wins by being short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amalia_mm.assistant import Assistant
from amalia_mm.evaluate.items import MinimalPair
from amalia_mm.evaluate.metrics import Share, preferred


@dataclass(frozen=True)
class PairScore:
    """A pair with the log-likelihood for each character of both members, in nats."""

    pair: MinimalPair
    european: float
    brazilian: float


@dataclass(frozen=True)
class PreferenceResult:
    """All pairs, and the share in which the European member is likelier; a tie counts half."""

    scores: tuple[PairScore, ...]

    @property
    def share(self) -> Share:
        """Over all pairs."""
        return _share(self.scores)

    def by_contrast(self) -> dict[str, Share]:
        """Return the share for each contrast, in the order of their names."""
        names = sorted({score.pair.contrast for score in self.scores})
        return {
            name: _share([score for score in self.scores if score.pair.contrast == name]) for name in names
        }


def measure(assistant: Assistant, pairs: Sequence[MinimalPair]) -> PreferenceResult:
    """Return the scores of all pairs."""
    european = _per_character(assistant, [pair.european for pair in pairs])
    brazilian = _per_character(assistant, [pair.brazilian for pair in pairs])
    return PreferenceResult(tuple(PairScore(*row) for row in zip(pairs, european, brazilian, strict=True)))


def _per_character(assistant: Assistant, texts: Sequence[str]) -> list[float]:
    return [score / len(text) for score, text in zip(assistant.log_likelihood(texts), texts, strict=True)]


def _share(scores: Sequence[PairScore]) -> Share:
    return preferred([score.european for score in scores], [score.brazilian for score in scores])
