"""How likely it is, under CTC, that what is said begins with some tokens, or is exactly them.

Sums over all paths through the frames, one forward pass a prefix, each from its parent's (Graves 2012, 7.5;
Watanabe et al. 2017, eq. 41 to 51). It knows tokens and frames; texts are `ctc_judge.py`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from torch import Tensor

Prefix = tuple[int, ...]
_FLOOR = -10_000.0
"""log p of a token in a frame where it is impossible: sums over frames stay finite, and no text outweighs it."""
_KEPT_NUMBERS = 4_000_000
"""In the likelihoods of next tokens, of one clip: 32 MB, but never fewer than 64 prefixes are kept."""

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class _Forward:
    """What a prefix needs for the next token: log p of having just it after 0, 1, ... f frames, (f+1) each."""

    ends_in_token: Array
    ends_in_blank: Array
    extended: Array
    """(v): log p that what is said begins with the prefix and then this token."""


class CtcPrefixes:
    """The likelihoods of prefixes of one clip; a prefix is worked out once, after its parents.

    Args:
        log_probs: (f v+1), log p of every token in every frame, the blank last; on the CPU.
    """

    def __init__(self, log_probs: Tensor) -> None:
        self._log_probs: Array = np.maximum(log_probs.double().numpy(), _FLOOR)
        self._probs: Array = np.exp(self._log_probs[:, :-1])
        num_frames, num_classes = self._log_probs.shape
        self._most_kept = max(64, _KEPT_NUMBERS // num_classes)
        silent = np.concatenate([np.zeros(1), self._log_probs[:, -1].cumsum()])
        self._known: dict[Prefix, _Forward] = {}
        self._keep([()], np.full((num_frames + 1, 1), -np.inf), silent[:, None])

    def prepare(self, prefixes: Collection[Prefix]) -> None:
        """Work out many prefixes at once, which is faster than one by one; the memory they take is limited."""
        if len(self._known) > self._most_kept:
            self._known = {prefix: self._known[prefix] for prefix in {*prefixes, ()} if prefix in self._known}
        missing: set[Prefix] = set()
        for prefix in prefixes:
            while prefix not in self._known and prefix not in missing:
                missing.add(prefix)
                prefix = prefix[:-1]
        levels: defaultdict[int, list[Prefix]] = defaultdict(list)
        for prefix in missing:
            levels[len(prefix)].append(prefix)
        for length in sorted(levels):  # the parents of one length are of the length before
            self._extend(levels[length])

    def whole(self, prefix: Prefix) -> float:
        """Return log p of exactly these tokens, in nats."""
        known = self._of(prefix)
        return float(np.logaddexp(known.ends_in_token[-1], known.ends_in_blank[-1]))

    def extended(self, prefix: Prefix) -> Array:
        """Return (v): log p that what is said begins with the prefix and then each token, in nats."""
        return self._of(prefix).extended

    def beginning(self, prefix: Prefix) -> float:
        """Return log p that what is said begins with these tokens, in nats: 0 for none."""
        return float(self.extended(prefix[:-1])[prefix[-1]]) if prefix else 0.0

    def _of(self, prefix: Prefix) -> _Forward:
        if prefix not in self._known:
            self.prepare([prefix])
        return self._known[prefix]

    def _extend(self, prefixes: list[Prefix]) -> None:
        """Work out prefixes of one length, (p) at once, from their parents."""
        parents = [self._known[prefix[:-1]] for prefix in prefixes]
        emitted = self._log_probs[:, [prefix[-1] for prefix in prefixes]]
        blank = self._log_probs[:, -1]
        # Before a token that repeats the last one there must be a blank.
        repeats = np.array([len(prefix) > 1 and prefix[-1] == prefix[-2] for prefix in prefixes])
        in_blank = np.stack([parent.ends_in_blank[:-1] for parent in parents], axis=1)
        in_token = np.stack([parent.ends_in_token[:-1] for parent in parents], axis=1)
        before = np.logaddexp(in_blank, np.where(repeats, -np.inf, in_token))
        tokens = _stays(before, emitted)
        blanks = _stays(tokens[:-1], blank[:, None])
        self._keep(prefixes, tokens, blanks)

    def _keep(self, prefixes: list[Prefix], tokens: Array, blanks: Array) -> None:
        """Keep what is known of prefixes (p), given where they can end, (f+1 p) each."""
        reached = np.logaddexp(tokens, blanks)[:-1].T
        highest = reached.max(axis=1, initial=-np.inf, keepdims=True)
        shift = np.where(np.isfinite(highest), highest, 0.0)
        with np.errstate(divide="ignore"):  # log 0 is the -inf that it should be
            extended = np.log(np.exp(reached - shift) @ self._probs) + shift
        for place, prefix in enumerate(prefixes):
            if prefix:
                again = blanks[:-1, place] + self._log_probs[:, prefix[-1]]
                extended[place, prefix[-1]] = np.logaddexp.reduce(again, initial=-np.inf)
            self._known[prefix] = _Forward(tokens[:, place], blanks[:, place], extended[place])


def _stays(entered: Array, emitted: Array) -> Array:
    """Return (f+1 p) log p of being in a state after 0, 1, ... f frames that is entered, and kept by emitting.

    state[t + 1] = (state[t] + entered[t]) * emitted[t] for all frames at once: what entered at a frame is divided by
    all that was emitted before it, summed over the frames, and multiplied by all that was emitted since.

    Args:
        entered: (f p) log p of coming in from elsewhere at each frame.
        emitted: (f p) or (f 1) log p of what the state emits in each frame, finite.
    """
    all_emitted = np.concatenate([np.zeros((1, emitted.shape[1])), emitted.cumsum(axis=0)])
    inside = np.logaddexp.accumulate(entered - all_emitted[:-1], axis=0) + all_emitted[1:]
    return np.concatenate([np.full((1, entered.shape[1]), -np.inf), inside])
