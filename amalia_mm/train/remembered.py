"""What was found out of each clip, so that one that comes again in a later epoch is not measured again.

For what a clip always is, whatever the step: where nothing that is learned, and no chance, has a part in it. It knows
nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_NUMBERS = 32_000_000
"""128 MB: the speaker and the pitch of some 100,000 clips."""


class Remembered:
    """Measurements by the place of their clip in the shards; in memory alone, and of this process alone.

    Args:
        most_numbers: How many are kept; clips that come after are measured each time.
    """

    def __init__(self, most_numbers: int = MOST_NUMBERS) -> None:
        self._most_numbers = most_numbers
        self._num_numbers = 0
        self._known: dict[str, Tensor] = {}

    def rows(self, num_rows: int, places: Sequence[str], measure: Callable[[int], Tensor]) -> list[Tensor]:
        """Return what was measured of each row of a batch.

        Args:
            num_rows: Of the batch.
            places: Of the clips, one a row, each of which is one clip for good; or none, and nothing is kept.
            measure: Measures a row by itself: what is kept must not depend on what stood beside it.
        """
        if not places:
            return [measure(row) for row in range(num_rows)]
        return [self._one(place, row, measure) for row, place in zip(range(num_rows), places, strict=True)]

    def _one(self, place: str, row: int, measure: Callable[[int], Tensor]) -> Tensor:
        known = self._known.get(place)
        if known is not None:
            return known
        found = measure(row)
        if self._num_numbers + found.numel() > self._most_numbers:
            return found
        # A copy, or a view would keep all that it is a part of; and one that training may use, whoever asked first.
        with torch.inference_mode(False):
            self._known[place] = found.detach().clone()
        self._num_numbers += found.numel()
        return self._known[place]
