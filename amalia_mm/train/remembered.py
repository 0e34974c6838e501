"""What was found out of each clip, so that one that comes again in a later epoch is not measured again.

For what a clip always is, whatever the step: where nothing that is learned, and no chance, has a part in it. It knows
nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_NUMBERS = 32_000_000
"""128 MB: the speakers of 250,000 clips, or the pitch of some 150,000."""


class Remembered:
    """Measurements by the place of their clip in the shards; in memory alone, and of this process alone.

    Args:
        most_numbers: How many are kept; clips that come after are measured each time.
    """

    def __init__(self, most_numbers: int = MOST_NUMBERS) -> None:
        self._most_numbers = most_numbers
        self._num_numbers = 0
        self._known: dict[tuple[str, int], Tensor] = {}

    def rows(
        self, clips: Sequence[Tensor], places: Sequence[str], measure: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """Return what was measured of each clip of a batch, where the clip is.

        Args:
            clips: (n) each.
            places: Of the clips, each of which is one clip for good; or none, and nothing is kept.
            measure: Measures a clip by itself: what is kept must not depend on what stood beside it.
        """
        if not places:
            return [measure(clip) for clip in clips]
        return [self._one(place, clip, measure) for place, clip in zip(places, clips, strict=True)]

    def _one(self, place: str, clip: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
        # Two clips of one length and place would still be one: whoever gives places answers for them.
        known = self._known.get((place, len(clip)))
        if known is not None:
            return known.to(clip.device)
        found = measure(clip)
        if self._num_numbers + found.numel() > self._most_numbers:
            return found
        # A copy, or a view would keep all that it is a part of; and one that training may use, whoever asked first.
        with torch.inference_mode(False):
            kept = found.detach().clone()
        self._known[place, len(clip)] = kept
        self._num_numbers += kept.numel()
        return kept
