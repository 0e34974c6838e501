"""Micro-steps as a dataset: number in, this process's batch out; and the loader that runs it in workers."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from amalia_mm.batch import (
    PreferenceBatch,
    SpeakerBatch,
    SpeechTextBatch,
    TextBatch,
    VoiceBatch,
    WaveformBatch,
)
from amalia_mm.data.bad_records import BadRecords
from amalia_mm.data.order import Ref, Row, share
from amalia_mm.data.reader import StaleCountsError
from amalia_mm.errors import InputError

Batch = TextBatch | SpeechTextBatch | PreferenceBatch | SpeakerBatch | VoiceBatch | WaveformBatch
BatchT = TypeVar("BatchT", bound=Batch)
BatchT_co = TypeVar("BatchT_co", bound=Batch, covariant=True)


class Batches(Protocol):
    """What is in each global batch: `Order`, or another pure function of (seed, step)."""

    def batch(self, step: int) -> tuple[Row, ...]:
        """Return the rows of a micro-step."""
        ...

    def num_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has."""
        ...

    def largest(self) -> dict[str, tuple[Row, ...]]:
        """Return the largest batches, by what is large in them."""
        ...


class Reads(Protocol):
    """References of an order to what `Collate` makes batches of; raises `InputError` where a record is bad."""

    def read(self, ref: Ref) -> Any:
        """Return what one reference is."""
        ...


class Collate(Protocol[BatchT_co]):
    """Rows, and whether they carry loss, to a batch."""

    def __call__(self, rows: Sequence[Sequence[Any]], *, has_loss: bool) -> BatchT_co: ...


@dataclass(frozen=True)
class Failed:
    """An error on its way out of a worker. Torch would make a new one out of its traceback's text."""

    error: InputError


class Steps(Dataset[BatchT | Failed], Generic[BatchT]):
    """The batches of one process, by micro-step.

    Args:
        order: What is in each global batch.
        reader: Reads its records.
        collate: Makes the batch.
        bad_records: Counts what cannot be read.
        rank: This process.
        world_size: All processes.
    """

    def __init__(
        self,
        order: Batches,
        reader: Reads,
        collate: Collate[BatchT],
        bad_records: BadRecords,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.order = order
        self._reader = reader
        self._collate = collate
        self._bad_records = bad_records
        self._rank, self._world_size = rank, world_size

    def __getitem__(self, micro_step: int) -> BatchT | Failed:
        """Return the batch of a micro-step; bad records are counted and left out, too many of them fail.

        A process without rows, and one whose records are all bad, gets a batch without loss.
        """
        try:
            rows, is_filler = share(self.order.batch(micro_step), self._rank, self._world_size)
            for source, count in Counter(ref.source for row in rows for ref in row).items():
                self._bad_records.add_read(source, count)
            read = [tuple(item for ref in row if (item := self._read(ref)) is not None) for row in rows]
            return self._collate([row for row in read if row], has_loss=not is_filler)
        except InputError as error:
            return Failed(error)

    def batch_of(self, rows: Sequence[Row]) -> BatchT:
        """Return this process's batch of rows that no step gave; bad records are left out and not counted."""
        own, is_filler = share(rows, self._rank, self._world_size)
        read: list[list[Any]] = []
        for row in own:
            read.append([])
            for ref in row:
                with suppress(InputError):
                    read[-1].append(self._reader.read(ref))
        return self._collate([row for row in read if row], has_loss=not is_filler)

    def _read(self, ref: Ref) -> Any:
        try:
            return self._reader.read(ref)
        except StaleCountsError:
            raise
        except InputError as error:
            self._bad_records.add_bad(ref.source, error)
            return None


class Loader(DataLoader[BatchT]):
    """A DataLoader that raises the workers' `InputError` as it was, in one line."""

    def __iter__(self) -> Iterator[BatchT]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for batch in super().__iter__():
            if isinstance(batch, Failed):
                self._end_workers()
                raise batch.error
            yield batch

    def _end_workers(self) -> None:
        # Left to the garbage collector, workers are waited for in vain for five seconds.
        iterator, self._iterator = self._iterator, None
        if self.num_workers and iterator is not None:
            iterator._shutdown_workers()  # pyright: ignore[reportAttributeAccessIssue]


class _From(Sampler[int]):
    """Micro-steps from a first one on, for ever: training ends by its number of steps. It has no length."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        step = self._first
        while True:
            yield step
            step += 1


def endless_loader(steps: Steps[BatchT], first: int, num_workers: int) -> Loader[BatchT]:
    """Return a loader of the micro-steps from `first` on."""
    return _loader(steps, _From(first), num_workers)


def finite_loader(steps: Steps[BatchT], num_batches: int, num_workers: int) -> Loader[BatchT]:
    """Return a loader of the first micro-steps, which has a length."""
    return _loader(steps, range(num_batches), num_workers)


def _loader(steps: Steps[BatchT], sampler: Sampler[int] | range, num_workers: int) -> Loader[BatchT]:
    return Loader(
        steps,  # pyright: ignore[reportArgumentType]
        batch_size=None,
        sampler=sampler,
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
    )


def _start_worker(worker: int) -> None:
    """Leave Ctrl-C to the main process, which ends its workers, and take one core."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
