"""Which records an epoch visits, and how fast each is then said: weighted sources, each going round and round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from amalia_mm.data.packing import Integers

_ROTATE, _SPEED = 2, 3
"""Keep these uses of the seed apart from one another and from that of `order.py`."""


@dataclass(frozen=True)
class Source:
    """What the order knows of a folder of shards: which records to visit, how often, and their lengths."""

    weight: float
    """Visits of each record in an epoch, on average; 0.5 visits one half, and the other in the next epoch."""
    records: Integers
    """(r) the numbers of the records to visit."""
    num_tokens: Integers
    """(r) text tokens of each, without audio."""
    num_audio_tokens: Integers
    """(r) audio tokens of each, 0 without audio; at the speed at which they are most."""
    part: Integers | None = None
    """(r) which part of its record each is, -1 the whole of it; None is all of them whole."""
    speeds: tuple[float, ...] = (1.0,)
    """At which a clip is heard, one visit after the other."""
    tokens_at_speed: Integers | None = None
    """(s r) audio tokens at each speed; None is `num_audio_tokens` at the only one."""

    @property
    def num_visits(self) -> int:
        """Visits of an epoch: the weight times the number of records, rounded."""
        return round(self.weight * len(self.records))


def source_names(folders: Sequence[str]) -> tuple[str, ...]:
    """Return what figures call folders of shards: the last part of the path, or all of it where two are alike."""
    short = [PurePath(folder).name for folder in folders]
    return tuple(n if short.count(n) == 1 else f for n, f in zip(short, folders, strict=True))


@dataclass(frozen=True)
class Visits:
    """The records of an epoch as columns, in the order in which they are cut into rows."""

    source: Integers
    record: Integers
    appearance: Integers
    num_tokens: Integers
    num_audio_tokens: Integers
    part: Integers
    speed: npt.NDArray[np.float64]

    def take(self, which: Integers) -> Visits:
        """Return the visits of the given numbers."""
        return Visits(
            self.source[which],
            self.record[which],
            self.appearance[which],
            self.num_tokens[which],
            self.num_audio_tokens[which],
            self.part[which],
            self.speed[which],
        )


def visits_of(sources: Sequence[Source], seed: int, epoch: int) -> Visits:
    """Return the records of an epoch, source by source.

    Each source goes round and round through one permutation of its records, a fixed number of them each
    epoch: no record is ever more than one visit ahead of another. Each record goes round the speeds as well, from one
    of them on that the seed decides.
    """
    parts = []
    for number, source in enumerate(sources):
        size, num_visits = len(source.records), source.num_visits
        permutation = np.random.default_rng([seed, _ROTATE, number]).permutation(size)
        turn = np.arange(epoch * num_visits, (epoch + 1) * num_visits, dtype=np.int64)
        which = permutation[turn % size]
        speed, num_audio_tokens = _at_speeds(source, which, turn // size, seed, number)
        columns = (
            source.records[which],
            turn // size,
            source.num_tokens[which],
            num_audio_tokens,
            np.full(num_visits, -1, dtype=np.int64) if source.part is None else source.part[which],
            speed,
        )
        parts.append(Visits(np.full(num_visits, number, dtype=np.int64), *columns))
    return Visits(
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.record for part in parts]),
        np.concatenate([part.appearance for part in parts]),
        np.concatenate([part.num_tokens for part in parts]),
        np.concatenate([part.num_audio_tokens for part in parts]),
        np.concatenate([part.part for part in parts]),
        np.concatenate([part.speed for part in parts]),
    )


def _at_speeds(
    source: Source, which: Integers, appearance: Integers, seed: int, number: int
) -> tuple[npt.NDArray[np.float64], Integers]:
    """Return the speed of each visit, and its audio tokens at that speed."""
    speeds = np.array(source.speeds)
    if source.tokens_at_speed is None:
        return np.full(len(which), speeds[0]), source.num_audio_tokens[which]
    first = np.random.default_rng([seed, _SPEED, number]).integers(len(speeds), size=len(source.records))
    chosen = (first[which] + appearance) % len(speeds)
    return speeds[chosen], source.tokens_at_speed[chosen, which]
