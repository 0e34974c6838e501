"""Simulated CTC paths: what a CTC encoder would emit for a text, from the text alone.

A decoder that has read such paths listens to a real encoder without one pair of speech and text
(`CtcPosterior`). A pure function of ids and seed; it knows nothing of audio or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amalia_mm.batch import BLANK


@dataclass(frozen=True)
class CtcPaths:
    """How paths are drawn; ranges are inclusive, chances are per token.

    Args:
        min_repeats: Fewest frames a token lasts, at least 1.
        max_repeats: Most frames a token lasts.
        max_blanks: Most blanks before each token and after the last one; equal neighbours get at least one.
        substitute: Chance that a token is replaced by another one.
        drop: Chance that a token is missing.
        insert: Chance that a token that was not said stands before it.
        min_silence: Fewest blanks of a path without any token.
        max_silence: Most blanks of a path without any token.
    """

    min_repeats: int = 1
    max_repeats: int = 2
    max_blanks: int = 5
    substitute: float = 0.06
    drop: float = 0.03
    insert: float = 0.0
    min_silence: int = 10
    max_silence: int = 60

    def __post_init__(self) -> None:
        if not 1 <= self.min_repeats <= self.max_repeats:
            raise ValueError(f"min_repeats {self.min_repeats} must be in 1..max_repeats {self.max_repeats}")
        if not 1 <= self.min_silence <= self.max_silence:
            raise ValueError(f"min_silence {self.min_silence} must be in 1..max_silence {self.max_silence}")
        if self.max_blanks < 1:
            raise ValueError(f"max_blanks {self.max_blanks} must be at least 1, to part equal neighbours")
        if (
            min(self.substitute, self.drop, self.insert) < 0
            or self.substitute + self.drop > 1
            or self.insert > 1
        ):
            raise ValueError(
                f"chances must be in 0..1, found substitute {self.substitute}, drop {self.drop}, "
                f"insert {self.insert}"
            )

    def max_length(self, num_ids: int) -> int:
        """Return the longest path that `num_ids` tokens can give."""
        num_tokens = num_ids * (2 if self.insert > 0 else 1)
        longest = num_tokens * (self.max_repeats + self.max_blanks) + self.max_blanks
        can_be_silent = num_ids == 0 or self.drop > 0
        return max(longest, self.max_silence) if can_be_silent else longest

    def simulate(
        self, ids: Sequence[int], *, num_classes: int, first_id: int = 0, seed: int | np.random.Generator
    ) -> list[int]:
        """Return a CTC path of classes, with `BLANK` for the blank.

        Without substitution, dropping and insertion `collapse(path) == ids`. No ids give a run of blanks.

        Args:
            ids: What is said, each in 0..num_classes - 1.
            num_classes: How many classes there are, the blank not counted.
            first_id: Wrong tokens are drawn from first_id..num_classes - 1, so that special ones never are.
            seed: A number, or a generator that is moved on.

        Source:
            Graves et al. 2006, "Connectionist temporal classification", section 3.1 (the collapsing map).
        """
        if any(not 0 <= token < num_classes for token in ids):
            raise ValueError(f"ids must be in 0..{num_classes - 1}, found {min(ids)}..{max(ids)}")
        rng = np.random.default_rng(seed)
        tokens = self._disturb(np.asarray(ids, dtype=np.int64), first_id, num_classes, rng)
        if not len(tokens):
            return [BLANK] * int(rng.integers(self.min_silence, self.max_silence + 1))
        repeats = rng.integers(self.min_repeats, self.max_repeats + 1, len(tokens))
        blanks = rng.integers(0, self.max_blanks + 1, len(tokens) + 1)
        is_same = np.zeros(len(tokens) + 1, dtype=bool)
        is_same[1:-1] = tokens[1:] == tokens[:-1]
        blanks = np.where(is_same, np.maximum(blanks, 1), blanks)
        # Blanks and tokens take turns: blank run 0, token 0, blank run 1, ..., token n - 1, blank run n.
        symbols = np.full(2 * len(tokens) + 1, BLANK, dtype=np.int64)
        lengths = np.empty(2 * len(tokens) + 1, dtype=np.int64)
        symbols[1::2], lengths[1::2], lengths[::2] = tokens, repeats, blanks
        return np.repeat(symbols, lengths).tolist()

    def _disturb(
        self, tokens: np.ndarray, first_id: int, num_classes: int, rng: np.random.Generator
    ) -> np.ndarray:
        chance = rng.random(len(tokens))
        wrong = rng.integers(first_id, num_classes, len(tokens))
        tokens = np.where(chance < self.substitute, wrong, tokens)
        keep = (chance < self.substitute) | (chance >= self.substitute + self.drop)
        if self.insert == 0:
            return tokens[keep]
        is_inserted = rng.random(len(tokens)) < self.insert
        extra = rng.integers(first_id, num_classes, len(tokens))
        pairs = np.stack([extra, tokens], axis=1)
        return pairs[np.stack([is_inserted, keep], axis=1)]


def collapse(path: Sequence[int], blank: int = BLANK) -> list[int]:
    """Return the token ids of a CTC path: repeats merged, then blanks taken out."""
    merged = [token for number, token in enumerate(path) if number == 0 or token != path[number - 1]]
    return [token for token in merged if token != blank]
