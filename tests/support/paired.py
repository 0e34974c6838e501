"""Two things timed in turn, so that a machine shared with others slows both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

_SETTLE_S = 0.3
"""OpenMP's threads spin for 0.2 s after their last work, OpenBLAS's for less."""


@dataclass(frozen=True)
class Paired:
    """Seconds of each pair of runs, ours and the peer's side by side."""

    ours_s: tuple[float, ...]
    peer_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times as fast ours is: the median over pairs of the peer's time by ours."""
        return statistics.median(peer / ours for ours, peer in zip(self.ours_s, self.peer_s, strict=True))

    @property
    def ours_median_s(self) -> float:
        return statistics.median(self.ours_s)

    @property
    def peer_median_s(self) -> float:
        return statistics.median(self.peer_s)


def paired(
    ours: Callable[[], object], peer: Callable[[], object], num_pairs: int = 7, num_warmups: int = 1
) -> Paired:
    """Return the times of both, run in turn; which one goes first changes with every pair.

    Before each there is a pause: threads of the other's library go on looking for work for up to 0.2 s.
    """
    for _ in range(num_warmups):
        ours()
        peer()
    ours_s, peer_s = [], []
    for pair in range(num_pairs):
        sides = [(ours, ours_s), (peer, peer_s)]
        for run, seconds in sides if pair % 2 == 0 else reversed(sides):
            time.sleep(_SETTLE_S)
            seconds.append(seconds_of(run))
    return Paired(tuple(ours_s), tuple(peer_s))


def seconds_of(run: Callable[[], object]) -> float:
    """Return how long one run takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def best_of(runs: dict[str, Callable[[], object]], num_rounds: int = 2) -> str:
    """Return the name of the fastest of several ways to do the same: a peer is measured at its best."""
    for run in runs.values():
        run()
    return min(runs, key=lambda name: min(seconds_of(runs[name]) for _ in range(num_rounds)))
