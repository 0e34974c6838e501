"""What the LightningDataModules of text, speech and voices share: folders in, endless batches out, exact anywhere."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic

import lightning as L
import numpy as np

from amalia_mm.audio.speed import num_samples_at
from amalia_mm.data.bad_records import BadRecords, check_left_out
from amalia_mm.data.eligible import Eligible
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.order import Order, Row
from amalia_mm.data.reader import Folder
from amalia_mm.data.steps import BatchT, Collate, Loader, Reads, Steps, endless_loader, finite_loader
from amalia_mm.data.token_ids import load_token_ids
from amalia_mm.data.tokens import index_tokens, load_tokens
from amalia_mm.data.visits import Source, source_names
from amalia_mm.errors import InputError
from amalia_mm.text.ctc_vocabulary import CtcVocabulary
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.units import samples_to_seconds

_LOG = logging.getLogger(__name__)


class ShardData(L.LightningDataModule, Generic[BatchT]):
    """Folders in, endless training batches and fixed validation batches out: common to text, speech and voices.

    Args:
        shards: Folder -> weight, the visits of each of its records in an epoch.
        val_shards: Folders to validate on, each record once; None validates on nothing.
        seed: Of the order and of the randomness of each record.
        num_workers: Processes that read; the batches are the same for any number.
        max_bad_fraction: Bad records above which the run stops.
    """

    def __init__(
        self,
        shards: dict[str, float],
        val_shards: list[str] | None,
        seed: int,
        num_workers: int,
        max_bad_fraction: float,
    ) -> None:
        super().__init__()
        require("shards", shards or "none", bool(shards), "at least one folder of shards and its weight")
        for folder, weight in shards.items():
            require(
                "shards", f"{folder}: {weight}", 0 < weight < math.inf, "a weight above 0; or leave it out"
            )
        require("seed", seed, seed >= 0, "at least 0")
        require("num_workers", num_workers, num_workers >= 0, "at least 0")
        require("max_bad_fraction", max_bad_fraction, 0 <= max_bad_fraction <= 1, "from 0 to 1")
        self.shards = shards
        self.val_shards = val_shards or []
        self.seed = seed
        self.num_workers = num_workers
        self.max_bad_fraction = max_bad_fraction
        self.bad_records: BadRecords | None = None
        """Counts of the training records read so far; None before `train_dataloader`."""
        self.steps: Steps[BatchT] | None = None
        """The training batches of this process by micro-step; None before `train_dataloader`."""
        self._folders: dict[str, Folder] = {}

    def setup(self, stage: str | None = None) -> None:
        """Load the indices and counts; raises `InputError` naming what is missing, cut or stale."""
        wanted = (*self.shards, *self.val_shards) if stage in (None, "fit") else self.val_shards
        for name in wanted:
            if name not in self._folders:
                self._folders[name] = self._load(name)

    @property
    def clip_s(self) -> float | None:
        """How long the clips to learn from are, in seconds (99 of 100 are no longer); None without any.

        A clip that is heard at several speeds counts at each of them.
        """
        lengths = np.concatenate([self._folders[name].index.num_samples for name in self.shards])
        different, counts = np.unique(lengths[lengths > 0], return_counts=True)
        if not len(different):
            return None
        heard = [[num_samples_at(int(length), speed) for length in different] for speed in self._speeds]
        at_all_speeds = np.repeat(np.concatenate(heard), np.tile(counts, len(heard)))
        return samples_to_seconds(int(np.percentile(at_all_speeds, 99)))

    @property
    def _speeds(self) -> tuple[float, ...]:
        """At which a clip is heard in training, one after the other."""
        return (1.0,)

    def train_dataloader(self) -> Loader[BatchT]:
        """Return the endless batches of this process, from the trainer's step on."""
        first = 0
        if self.trainer is not None:
            self._check_rows(self.trainer.world_size)
            first = self.trainer.global_step * self.trainer.accumulate_grad_batches
        self.steps, self.bad_records = self._steps(self.shards, self.seed)
        return endless_loader(self.steps, first, self.num_workers)

    def val_dataloader(self) -> Loader[BatchT] | list[Loader[BatchT]]:
        """Return the validation batches of this process, always the same; an empty list without folders."""
        if not self.val_shards:
            return []
        steps, _ = self._steps(dict.fromkeys(self.val_shards, 1.0), seed=0, is_training=False)
        return finite_loader(steps, steps.order.num_batches(epoch=0), self.num_workers)

    def teardown(self, stage: str) -> None:
        """Tell how many bad records were left out."""
        counts = self.bad_records.counts() if self.bad_records is not None and stage == "fit" else {}
        for folder, (bad, read) in counts.items():
            if bad:
                _LOG.warning("%s: %d bad records of %d read were left out", folder, bad, read)

    def _check_rows(self, num_processes: int) -> None:
        """Refuse batches of so few rows that some processes would never have one, and wait for the others."""
        name, most = self._most_rows
        require(
            name, most, most >= num_processes, f"at least {num_processes}, one for each process: it is global"
        )

    @property
    def budget(self) -> dict[str, int]:
        """The options that say how large a global micro-batch is, and their values."""
        name, most = self._most_rows
        return {name: most}

    def largest(self) -> dict[str, tuple[Row, ...]]:
        """Return the largest global batches that training can meet, by what is large in them."""
        if self.steps is None:
            raise ValueError("the largest batches are those of training: train_dataloader() must run before")
        return self.steps.order.largest()

    @property
    @abstractmethod
    def _most_rows(self) -> tuple[str, int]:
        """The option that says how many rows a global micro-batch has at most, and its value."""

    def _steps(
        self, weights: Mapping[str, float], seed: int, *, is_training: bool = True
    ) -> tuple[Steps[BatchT], BadRecords]:
        if any(name not in self._folders for name in weights):
            raise ValueError("setup() must run before a loader is made")
        folders = [self._folders[name] for name in weights]
        eligible = [self._eligible(f, w, is_training) for f, w in zip(folders, weights.values(), strict=True)]
        left_out = {name: usable.left_out for name, usable in zip(weights, eligible, strict=True)}
        sizes = {name: len(folder.index) for name, folder in zip(weights, folders, strict=True)}
        check_left_out(left_out, sizes, self.max_bad_fraction)
        bad_records = BadRecords(list(weights), self.max_bad_fraction, self.num_workers)
        steps = Steps(
            order=self._order([usable.source for usable in eligible], seed, is_training),
            reader=self._reader(folders, seed, is_training),
            collate=self._collate(source_names(list(weights))),
            bad_records=bad_records,
            rank=0 if self.trainer is None else self.trainer.global_rank,
            world_size=1 if self.trainer is None else self.trainer.world_size,
        )
        return steps, bad_records

    @abstractmethod
    def _load(self, name: str) -> Folder:
        """Return a folder with what is counted of its records."""

    @abstractmethod
    def _eligible(self, folder: Folder, weight: float, is_training: bool) -> Eligible:
        """Return the records of a folder that can be used."""

    @abstractmethod
    def _order(self, sources: Sequence[Source], seed: int, is_training: bool) -> Order:
        """Return the order of the batches."""

    @abstractmethod
    def _reader(self, folders: Sequence[Folder], seed: int, is_training: bool) -> Reads:
        """Return the reader of the order's records."""

    @abstractmethod
    def _collate(self, names: tuple[str, ...]) -> Collate[BatchT]:
        """Return what makes a batch of rows."""


class TokenData(ShardData[BatchT]):
    """Shards that are read as tokens: their counts, and the tokenizer that made them.

    Args:
        shards: As `ShardData`.
        tokenizer: The tokenizer's folder.
        val_shards: As `ShardData`, as what follows.
        seed: Of the order.
        num_workers: Processes that read.
        max_bad_fraction: Bad records above which the run stops.
        max_positions: Most positions of a row that the model can read; None sets no limit.
    """

    def __init__(
        self,
        shards: dict[str, float],
        tokenizer: str,
        val_shards: list[str] | None,
        seed: int,
        num_workers: int,
        max_bad_fraction: float,
        max_positions: int | None,
    ) -> None:
        super().__init__(shards, val_shards, seed, num_workers, max_bad_fraction)
        self.tokenizer = tokenizer
        self.max_positions = max_positions
        self._vocabulary: CtcVocabulary | None = None
        self._loaded: Tokenizer | None = None

    @property
    def _text_tokenizer(self) -> Tokenizer:
        if self._loaded is None:
            raise ValueError("setup() must run before a loader is made")
        return self._loaded

    def prepare_data(self) -> None:
        """Count the tokens of every folder that has no count for this tokenizer yet; once on each machine."""
        tokenizer = Tokenizer.load(self.tokenizer)
        for folder in (*self.shards, *self.val_shards):
            index_tokens(folder, tokenizer, self._vocabulary)

    def setup(self, stage: str | None = None) -> None:
        """Load tokenizer, indices and counts; raises `InputError` naming what is missing, cut or stale."""
        self._loaded = Tokenizer.load(self.tokenizer)
        super().setup(stage)

    def _load(self, name: str) -> Folder:
        index = ShardIndex.load(name)
        counts = load_tokens(index, self._text_tokenizer, self._vocabulary)
        return Folder(index, counts, load_token_ids(index, self._text_tokenizer, counts))


def require_rows(row_tokens: int, rows_per_batch: int) -> None:
    """Raise `InputError` where there could be no row."""
    require("row_tokens", row_tokens, row_tokens >= 2, "at least 2")
    require("rows_per_batch", rows_per_batch, rows_per_batch >= 1, "at least 1")


def require(name: str, found: object, holds: bool, wanted: str) -> None:
    """Raise `InputError` where a value of the data's configuration cannot be."""
    if not holds:
        raise InputError("data", field=name, found=found, wanted=wanted, remedy="correct the value")
