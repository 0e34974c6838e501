"""The global batch of a step as a pure function of (seed, step): no state, so a killed run resumes exactly.

An epoch visits every source as often as its weight says and is cut into batches from the index alone, before
anything is read. The same batches come out for any number of processes and workers. It knows nothing of
files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from amalia_mm.data.packing import Integers, pack_rows, split_documents
from amalia_mm.data.visits import Source, Visits, visits_of

_SHUFFLE = 1
"""Keeps this use of the seed apart from that of `visits.py`."""


@dataclass(frozen=True)
class Ref:
    """One record of the order, a piece of a long document, or a part of a long conversation."""

    source: int
    record: int
    start_token: int = 0
    num_tokens: int = -1
    """-1 is the whole record."""
    appearance: int = 0
    """How often the record came before; with it, a record that comes twice can be varied twice."""
    part: int = -1
    """Which part of a conversation; -1 is the whole of it."""
    speed: float = 1.0
    """How fast a clip is said this time."""


Row = tuple[Ref, ...]
"""One row of a batch; several references are packed into it."""


@dataclass(frozen=True)
class _Plan:
    """An epoch in batches: batch i is rows batches[i]..batches[i + 1], row j is refs rows[j]..rows[j + 1]."""

    refs: Visits
    start_token: Integers
    num_tokens: Integers
    rows: Integers
    batches: Integers

    @property
    def num_batches(self) -> int:
        return len(self.batches) - 1

    def batch(self, number: int) -> tuple[Row, ...]:
        return tuple(self._row(row) for row in range(self.batches[number], self.batches[number + 1]))

    def _row(self, row: int) -> Row:
        return tuple(
            Ref(
                source=int(self.refs.source[i]),
                record=int(self.refs.record[i]),
                start_token=int(self.start_token[i]),
                num_tokens=int(self.num_tokens[i]),
                appearance=int(self.refs.appearance[i]),
                part=int(self.refs.part[i]),
                speed=float(self.refs.speed[i]),
            )
            for i in range(self.rows[row], self.rows[row + 1])
        )


class Order(ABC):
    """An endless sequence of batches over weighted sources.

    Args:
        sources: What to visit.
        seed: Another seed gives another order.

    Raises:
        ValueError: The sources have no visit in an epoch.
    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        self.sources = tuple(sources)
        self.seed = seed
        self._first_steps = [0]
        self._plans: dict[int, _Plan] = {}
        visits = [source.num_visits for source in self.sources]
        if not visits or min(visits) < 1:
            raise ValueError(f"every source needs at least one visit in an epoch, found {visits}")

    def batch(self, step: int) -> tuple[Row, ...]:
        """Return the rows of the global batch of a micro-step, whatever was asked for before."""
        if step < 0:
            raise ValueError(f"a step cannot be negative: {step}")
        while self._first_steps[-1] <= step:
            epoch = len(self._first_steps) - 1
            self._first_steps.append(self._first_steps[-1] + self._plan(epoch).num_batches)
        epoch = bisect_right(self._first_steps, step) - 1
        return self._plan(epoch).batch(step - self._first_steps[epoch])

    def num_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has."""
        return self._plan(epoch).num_batches

    def _plan(self, epoch: int) -> _Plan:
        if epoch not in self._plans:
            rng = np.random.default_rng([self.seed, _SHUFFLE, epoch])
            visits = visits_of(self.sources, self.seed, epoch)
            shuffled = visits.take(rng.permutation(len(visits.record)))
            # Its neighbours are kept: whoever reads ahead may go back and forth over the border.
            self._plans = {number: plan for number, plan in self._plans.items() if abs(number - epoch) == 1}
            self._plans[epoch] = self._cut(shuffled, rng, epoch)
        return self._plans[epoch]

    @abstractmethod
    def largest(self) -> dict[str, tuple[Row, ...]]:
        """Return the largest batches that the order could ever give, by what is large in them."""

    @abstractmethod
    def _cut(self, visits: Visits, rng: np.random.Generator, epoch: int) -> _Plan:
        """Return the visits of an epoch, which come shuffled, cut into rows and batches."""


class PackedOrder(Order):
    """Batches of rows of text packed with whole documents.

    Documents longer than a row, or than the decoder can read, come in pieces; positions restart in each.

    Args:
        sources: What to visit; audio tokens are not looked at.
        row_tokens: Most tokens of a row.
        rows_per_batch: Most rows of a batch; the batches of an epoch differ by at most one row.
        seed: Another seed gives another order.
        max_positions: Most positions of one document that the decoder can read; None sets no limit.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        row_tokens: int,
        rows_per_batch: int,
        seed: int,
        max_positions: int | None = None,
    ) -> None:
        if row_tokens < 2 or rows_per_batch < 1:
            raise ValueError(
                f"row_tokens {row_tokens} must be at least 2 and rows_per_batch {rows_per_batch} 1"
            )
        super().__init__(sources, seed)
        self.row_tokens = row_tokens
        self.piece_tokens = row_tokens if max_positions is None else min(row_tokens, max_positions)
        self.rows_per_batch = rows_per_batch

    def largest(self) -> dict[str, tuple[Row, ...]]:
        """Return the batch of the first epoch with the most positions: rows are packed until they are full."""
        plan = self._plan(0)
        row_tokens = np.add.reduceat(plan.num_tokens, plan.rows[:-1])
        longest = np.maximum.reduceat(row_tokens, plan.batches[:-1])
        return {"the most positions": plan.batch(int((longest * np.diff(plan.batches)).argmax()))}

    def _cut(self, visits: Visits, rng: np.random.Generator, epoch: int) -> _Plan:
        which, start_token, num_tokens = split_documents(visits.num_tokens, self.piece_tokens)
        row_of = pack_rows(num_tokens, self.row_tokens)
        num_rows = int(row_of.max()) + 1
        # Rows of like documents come out together; the steps must not.
        row_of = rng.permutation(num_rows)[row_of]
        by_row = np.argsort(row_of, kind="stable")
        num_batches = -(-num_rows // self.rows_per_batch)
        return _Plan(
            refs=visits.take(which[by_row]),
            start_token=start_token[by_row],
            num_tokens=num_tokens[by_row],
            rows=np.searchsorted(row_of[by_row], np.arange(num_rows + 1)),
            batches=np.arange(num_batches + 1) * num_rows // num_batches,
        )


class BudgetOrder(Order):
    """Batches of records of like length under a budget that counts padding; one record a row.

    Args:
        sources: What to visit.
        max_audio_tokens: Most audio tokens of a batch: its clips times the longest of them.
        max_text_tokens: Most text tokens of a batch: its rows times the longest text, audio not counted.
        max_rows: Most rows of a batch.
        seed: Another seed gives another order.
        jitter: Lengths are sorted after a factor drawn from 1 - jitter..1 + jitter, so that batches vary.
        max_padding: Most audio tokens of a batch that are padding, as a share. Records are then put into buckets of
            clips of like length (this share wide, with borders that each epoch draws), sorted by text inside of one,
            and a batch ends where the next clip would make the others too short. None sorts by text and audio
            together, with the jitter, and fills every batch.
        shortest_first_epochs: How many epochs at the start go from the shortest batch to the longest, but for the
            jitter, instead of in random order ("SortaGrad", Amodei et al. 2016, 3.2): short clips are aligned sooner.

    Raises:
        ValueError: A record does not fit the budget alone.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        max_audio_tokens: int,
        max_text_tokens: int,
        max_rows: int,
        seed: int,
        jitter: float = 0.1,
        shortest_first_epochs: int = 0,
        max_padding: float | None = None,
    ) -> None:
        if max_rows < 1 or shortest_first_epochs < 0:
            raise ValueError(
                f"max_rows {max_rows} must be at least 1 and shortest_first_epochs {shortest_first_epochs} at least 0"
            )
        if max_padding is not None and not 0 < max_padding <= 1:
            raise ValueError(f"max_padding {max_padding} is no share above 0 and at most 1")
        self.max_padding = max_padding
        self.shortest_first_epochs = shortest_first_epochs
        super().__init__(sources, seed)
        self.max_audio_tokens, self.max_text_tokens = max_audio_tokens, max_text_tokens
        self.max_rows, self.jitter = max_rows, jitter
        longest_audio = max(int(source.num_audio_tokens.max()) for source in self.sources)
        longest_text = max(int(source.num_tokens.max()) for source in self.sources)
        if longest_audio > max_audio_tokens or longest_text > max_text_tokens:
            raise ValueError(
                f"a record of {longest_audio} audio or {longest_text} text tokens does not fit a batch of "
                f"{max_audio_tokens} audio and {max_text_tokens} text tokens"
            )

    def _cut(self, visits: Visits, rng: np.random.Generator, epoch: int) -> _Plan:
        if self.max_padding is None:
            factor = rng.uniform(1 - self.jitter, 1 + self.jitter, len(visits.record))
            by_length = np.argsort((visits.num_tokens + visits.num_audio_tokens) * factor, kind="stable")
        else:
            by_length = np.lexsort((visits.num_tokens, _buckets(visits, self.max_padding, rng)))
        visits = visits.take(by_length)
        borders = self._borders(visits.num_tokens.tolist(), visits.num_audio_tokens.tolist())
        sizes = np.diff(borders)
        is_sorted = epoch < self.shortest_first_epochs
        shuffled = np.arange(len(sizes)) if is_sorted else rng.permutation(len(sizes))
        starts = borders[:-1][shuffled]
        batches = np.concatenate([[0], np.cumsum(sizes[shuffled])])
        # Row i of the shuffled batches is row i - batches[b] of batch b, which began at starts[b].
        which = np.arange(len(visits.record)) + np.repeat(starts - batches[:-1], sizes[shuffled])
        whole = np.zeros(len(which), dtype=np.int64)
        return _Plan(visits.take(which), whole, whole - 1, np.arange(len(which) + 1), batches)

    def largest(self) -> dict[str, tuple[Row, ...]]:
        """Return batches of as many copies of one record as fit, each of the record that makes it largest.

        And one of the longest clip with the longest text among its copies. No batch of the order computes more: where a
        record stands among shorter ones, so many fit as if they were all as long.
        """
        refs, text, audio = self._records()
        rows = np.full(len(refs), self.max_rows)
        for most, tokens in ((self.max_text_tokens, text), (self.max_audio_tokens, audio)):
            rows = np.minimum(rows, np.where(tokens > 0, most // np.maximum(tokens, 1), self.max_rows))
        chosen = {
            "the most audio": int((rows * audio).argmax()),
            "the most positions": int((rows * (text + audio)).argmax()),
            "the longest clip": int(audio.argmax()),
            "the longest text": int(text.argmax()),
        }
        batches = {name: _copies(refs[number], int(rows[number])) for name, number in chosen.items()}
        clip, said = chosen["the longest clip"], chosen["the longest text"]
        both = int(min(rows[clip], rows[said]))
        if both > 1 and clip != said and text[said] > 0:
            batches["the longest clip and text"] = _copies(refs[clip], both - 1) + _copies(refs[said], 1)
        return {name: rows for name, rows in batches.items() if _is_first(name, batches)}

    def _records(self) -> tuple[list[Ref], Integers, Integers]:
        """Return every record as it is longest, with its text and audio tokens."""
        refs: list[Ref] = []
        for number, source in enumerate(self.sources):
            at = source.tokens_at_speed
            slowest = np.zeros(len(source.records), np.int64) if at is None else at.argmax(axis=0)
            parts = np.full(len(source.records), -1) if source.part is None else source.part
            for record, part, speed in zip(
                source.records.tolist(), parts.tolist(), slowest.tolist(), strict=True
            ):
                refs.append(Ref(number, record, part=part, speed=source.speeds[speed]))
        text = np.concatenate([source.num_tokens for source in self.sources])
        return refs, text, np.concatenate([source.num_audio_tokens for source in self.sources])

    def _borders(self, num_tokens: list[int], num_audio_tokens: list[int]) -> Integers:
        """Return where batches begin, and the end, when records are taken in order as long as they fit."""
        borders, first, num_clips, longest_text, longest_audio, all_audio = [0], 0, 0, 0, 0, 0
        fullest = 0.0 if self.max_padding is None else 1 - self.max_padding
        for record, (text, audio) in enumerate(zip(num_tokens, num_audio_tokens, strict=True)):
            num_clips += audio > 0
            all_audio += audio
            longest_text, longest_audio = max(longest_text, text), max(longest_audio, audio)
            rows = record - first + 1
            if (
                rows > self.max_rows
                or rows * longest_text > self.max_text_tokens
                or num_clips * longest_audio > self.max_audio_tokens
                or all_audio < fullest * num_clips * longest_audio
            ):
                borders.append(record)
                first, num_clips, longest_text, longest_audio = record, int(audio > 0), text, audio
                all_audio = audio
        return np.array([*borders, len(num_tokens)], dtype=np.int64)


def _copies(ref: Ref, count: int) -> tuple[Row, ...]:
    return tuple((replace(ref, appearance=number),) for number in range(count))


def _is_first(name: str, batches: Mapping[str, tuple[Row, ...]]) -> bool:
    return next(other for other, rows in batches.items() if rows == batches[name]) == name


def _buckets(visits: Visits, width: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return (v) the bucket of each visit: by audio where something is heard, of a text that of clips as long as it."""
    whole = (visits.num_tokens + visits.num_audio_tokens).astype(np.float64)
    is_heard = visits.num_audio_tokens > 0
    if is_heard.any():
        ratio = whole[is_heard].sum() / visits.num_audio_tokens[is_heard].sum()
        whole[is_heard] = visits.num_audio_tokens[is_heard] * ratio
    return np.floor(np.log(np.maximum(whole, 1.0)) / np.log1p(width) + rng.uniform())


def share(rows: Sequence[Row], rank: int, world_size: int) -> tuple[tuple[Row, ...], bool]:
    """Return the rows of one process, and whether they are only a filler that must carry no loss.

    Every row of the batch is some process's own; a process for which none is left gets the first one, so that
    it has something to run through the model.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not one of {world_size} processes")
    own = tuple(rows[rank::world_size])
    return (own, False) if own else (tuple(rows[:1]), True)
