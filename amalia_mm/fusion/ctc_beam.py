"""The text that CTC and a model of text find likeliest together, when there is no decoder.

Frames in, tokens out: prefix beam search (Hannun et al. 2014, algorithm 1). Knows nothing of audio files or words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

LogProb = Callable[[Sequence[int], int], float]
"""log p of a token after those before it."""
_NEVER = float("-inf")


@dataclass
class _Beam:
    """log p of all paths of a prefix that end in a blank, and of those that do not; and what text it makes."""

    blank: float = _NEVER
    token: float = _NEVER
    text: float = 0.0

    @property
    def acoustic(self) -> float:
        return _add(self.blank, self.token)


def search(
    log_probs: Tensor,
    text: LogProb,
    end: int,
    *,
    weight: float = 0.5,
    bonus: float = 0.0,
    num_beams: int = 16,
    num_tokens: int = 12,
) -> list[int]:
    """Return the tokens with the highest log p(CTC) + `weight` * log p(text) + `bonus` * their number.

    Args:
        log_probs: (f v+1) of one clip, blank last.
        text: The model of text.
        end: The token with which it ends a text.
        weight: What it counts beside CTC; with 0 and many beams CTC's own best text comes out.
        bonus: For each token, against the short texts that a model of text likes.
        num_beams: Prefixes that are kept.
        num_tokens: The likeliest tokens of a frame, which may extend a prefix.
    """
    blank = log_probs.shape[-1] - 1
    likeliest = log_probs[:, :blank].topk(min(num_tokens, blank), dim=-1)
    beams: dict[tuple[int, ...], _Beam] = {(): _Beam(blank=0.0)}
    blanks = log_probs[:, blank].tolist()
    for frame, (values, ids) in enumerate(
        zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
    ):
        found: dict[tuple[int, ...], _Beam] = {}
        for prefix, beam in beams.items():
            same = found.setdefault(prefix, _Beam(text=beam.text))
            same.blank = _add(same.blank, beam.acoustic + blanks[frame])
            for value, token in zip(values, ids, strict=True):
                is_repeated = prefix[-1:] == (token,)
                if is_repeated:
                    same.token = _add(same.token, beam.token + value)
                longer = (*prefix, token)
                if longer not in found:
                    found[longer] = _Beam(text=beam.text + weight * text(prefix, token) + bonus)
                # After itself a token needs a blank between.
                found[longer].token = _add(
                    found[longer].token, (beam.blank if is_repeated else beam.acoustic) + value
                )
        kept = sorted(found.items(), key=lambda entry: -(entry[1].acoustic + entry[1].text))[:num_beams]
        beams = dict(kept)
    best, _ = max(
        beams.items(), key=lambda entry: entry[1].acoustic + entry[1].text + weight * text(entry[0], end)
    )
    return list(best)


def _add(one: float, other: float) -> float:
    """Return log(exp(one) + exp(other))."""
    if one < other:
        one, other = other, one
    return one if other == _NEVER else one + math.log1p(math.exp(other - one))
