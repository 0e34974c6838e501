"""Bad records, counted per source over all workers; too many of them stop the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from amalia_mm.errors import InputError

_LOG = logging.getLogger(__name__)

_FEWEST_SEEN = 200
"""Bad records are weighed against at least this many, or one early in the run would stop it."""

_MOST_TOLD = 10
"""Bad records told one by one in each process; after that they are only counted."""


class BadRecords:
    """Counts of records read and found bad, in memory that data workers share.

    Args:
        sources: The folders.
        max_fraction: Bad records of all read above which the run stops; 0 stops at the first.
        num_workers: Each worker counts in a row of its own, so that none waits for another.
    """

    def __init__(self, sources: Sequence[str], max_fraction: float, num_workers: int) -> None:
        if not 0 <= max_fraction <= 1:
            raise ValueError(f"max_bad_fraction must be in 0..1, found {max_fraction}")
        self.sources = tuple(sources)
        self.max_fraction = max_fraction
        self._counts: Tensor = torch.zeros(max(1, num_workers), len(self.sources), 2, dtype=torch.int64)
        """One row of (read, bad) for each worker and source."""
        self._counts.share_memory_()
        self._num_told = 0

    def add_read(self, source: int, count: int) -> None:
        """Count records that are read."""
        self._counts[_worker(), source, 0] += count

    def add_bad(self, source: int, error: InputError) -> None:
        """Count one bad record of those read; raise `InputError` with all counts where they are too many."""
        self._counts[_worker(), source, 1] += 1
        self._num_told += 1
        if self._num_told <= _MOST_TOLD:
            _LOG.warning("bad record left out: %s", error)
        num_read, num_bad = (int(count) for count in self._counts.sum(dim=(0, 1)))
        if num_bad > self.max_fraction * max(num_read, _FEWEST_SEEN):
            raise _too_many(self.counts(), self.max_fraction, error)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return for each source how many records were bad and how many were read."""
        per_source = self._counts.sum(dim=0).tolist()
        return {name: (bad, read) for name, (read, bad) in zip(self.sources, per_source, strict=True)}


def check_left_out(
    left_out: Mapping[str, Sequence[InputError]], sizes: Mapping[str, int], max_fraction: float
) -> None:
    """Tell which records of each folder will never be read; raise `InputError` where they are too many."""
    for source, errors in left_out.items():
        if errors:
            _LOG.warning(
                "%s: %d of %d records left out; the first: %s", source, len(errors), sizes[source], errors[0]
            )
    num_bad = sum(len(errors) for errors in left_out.values())
    if num_bad > max_fraction * max(sum(sizes.values()), _FEWEST_SEEN):
        counts = {source: (len(errors), sizes[source]) for source, errors in left_out.items()}
        raise _too_many(counts, max_fraction, next(errors[0] for errors in left_out.values() if errors))


def _too_many(counts: Mapping[str, tuple[int, int]], max_fraction: float, example: InputError) -> InputError:
    found = ", ".join(f"{bad} of {read} in {source}" for source, (bad, read) in counts.items() if bad)
    return InputError(
        "data",
        field="bad records",
        found=found,
        wanted=f"at most {max_fraction:g} of all (max_bad_fraction)",
        remedy=f"run `amalia shards verify` on them and write them again; for example {example}",
    )


def _worker() -> int:
    info = torch.utils.data.get_worker_info()
    return 0 if info is None else info.id
