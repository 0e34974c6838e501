"""The LightningDataModules: text in packed rows, and speech with text under a budget.

They put the rooms of this folder together; each batch follows from (seed, step), so the only state of a run
is the trainer's step. They know nothing of models: an audio geometry is all they are told.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Generic

import lightning as L
import numpy as np

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.geometry import AudioGeometry, LengthStage
from amalia_mm.batch import SpeechTextBatch, TextBatch
from amalia_mm.data.bad_records import BadRecords, check_left_out
from amalia_mm.data.collate import collate_speech, collate_text
from amalia_mm.data.conversation import TooLong
from amalia_mm.data.ctc_paths import CtcPaths
from amalia_mm.data.eligible import Eligible, eligible_speech, eligible_text
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.order import BudgetOrder, Order, PackedOrder
from amalia_mm.data.parts import conversation_parts
from amalia_mm.data.reader import Folder, Reader
from amalia_mm.data.steps import BatchT, Collate, Loader, Steps, endless_loader, finite_loader
from amalia_mm.data.token_ids import load_token_ids
from amalia_mm.data.tokens import index_tokens, load_tokens
from amalia_mm.data.visits import Source, source_names
from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.units import samples_to_seconds

_LOG = logging.getLogger(__name__)


class ShardData(L.LightningDataModule, Generic[BatchT]):
    """Folders in, endless training batches and fixed validation batches out: common to text and speech.

    Args:
        shards: Folder -> weight, the visits of each of its records in an epoch.
        tokenizer: The tokenizer's folder.
        val_shards: Folders to validate on, each record once; None validates on nothing.
        seed: Of the order and of the randomness of each record.
        num_workers: Processes that read; the batches are the same for any number.
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
        self.tokenizer = tokenizer
        self.val_shards = val_shards or []
        self.seed = seed
        self.num_workers = num_workers
        self.max_bad_fraction = max_bad_fraction
        self.max_positions = max_positions
        self.bad_records: BadRecords | None = None
        """Counts of the training records read so far; None before `train_dataloader`."""
        self._text_tokenizer: Tokenizer | None = None
        self._folders: dict[str, Folder] = {}

    def prepare_data(self) -> None:
        """Count the tokens of every folder that has no count for this tokenizer yet; once on each machine."""
        tokenizer = Tokenizer.load(self.tokenizer)
        for folder in (*self.shards, *self.val_shards):
            index_tokens(folder, tokenizer)

    def setup(self, stage: str | None = None) -> None:
        """Load the indices and counts; raises `InputError` naming what is missing, cut or stale."""
        self._text_tokenizer = Tokenizer.load(self.tokenizer)
        wanted = (*self.shards, *self.val_shards) if stage in (None, "fit") else self.val_shards
        for name in wanted:
            if name not in self._folders:
                index = ShardIndex.load(name)
                counts = load_tokens(index, self._text_tokenizer)
                ids = load_token_ids(index, self._text_tokenizer, counts)
                self._folders[name] = Folder(index, counts, ids)

    @property
    def clip_s(self) -> float | None:
        """How long the clips to learn from are, in seconds (99 of 100 are no longer); None without any."""
        lengths = np.concatenate([self._folders[name].index.num_samples for name in self.shards])
        heard = lengths[lengths > 0]
        return samples_to_seconds(int(np.percentile(heard, 99))) if len(heard) else None

    def train_dataloader(self) -> Loader[BatchT]:
        """Return the endless batches of this process, from the trainer's step on."""
        first = 0
        if self.trainer is not None:
            self._check_rows(self.trainer.world_size)
            first = self.trainer.global_step * self.trainer.accumulate_grad_batches
        steps, self.bad_records = self._steps(self.shards, self.seed)
        return endless_loader(steps, first, self.num_workers)

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
    @abstractmethod
    def _most_rows(self) -> tuple[str, int]:
        """The option that says how many rows a global micro-batch has at most, and its value."""

    def _steps(
        self, weights: Mapping[str, float], seed: int, *, is_training: bool = True
    ) -> tuple[Steps[BatchT], BadRecords]:
        if self._text_tokenizer is None or any(name not in self._folders for name in weights):
            raise ValueError("setup() must run before a loader is made")
        folders = [self._folders[name] for name in weights]
        eligible = [self._eligible(f, w) for f, w in zip(folders, weights.values(), strict=True)]
        left_out = {name: usable.left_out for name, usable in zip(weights, eligible, strict=True)}
        sizes = {name: len(folder.index) for name, folder in zip(weights, folders, strict=True)}
        check_left_out(left_out, sizes, self.max_bad_fraction)
        bad_records = BadRecords(list(weights), self.max_bad_fraction, self.num_workers)
        steps = Steps(
            order=self._order([usable.source for usable in eligible], seed, is_training),
            reader=self._reader(folders, self._text_tokenizer, seed, is_training),
            collate=self._collate(self._text_tokenizer, source_names(list(weights))),
            bad_records=bad_records,
            rank=0 if self.trainer is None else self.trainer.global_rank,
            world_size=1 if self.trainer is None else self.trainer.world_size,
        )
        return steps, bad_records

    @abstractmethod
    def _eligible(self, folder: Folder, weight: float) -> Eligible:
        """Return the records of a folder that can be used."""

    @abstractmethod
    def _order(self, sources: Sequence[Source], seed: int, is_training: bool) -> Order:
        """Return the order of the batches."""

    @abstractmethod
    def _reader(
        self, folders: Sequence[Folder], tokenizer: Tokenizer, seed: int, is_training: bool
    ) -> Reader:
        """Return the reader of the order's records."""

    @abstractmethod
    def _collate(self, tokenizer: Tokenizer, names: tuple[str, ...]) -> Collate[BatchT]:
        """Return what makes a batch of rows."""


class TextData(ShardData[TextBatch]):
    """Text packed into rows of at most `row_tokens`, for pre-training and supervised fine-tuning.

    Args:
        shards: Folder -> weight, the visits of each of its records in an epoch.
        tokenizer: The tokenizer's folder.
        val_shards: Folders to validate on, each record once.
        row_tokens: Most tokens of a row; longer documents come in pieces.
        rows_per_batch: Most rows of a global micro-batch.
        seed: Of the order.
        num_workers: Processes that read.
        max_bad_fraction: Bad records above which the run stops.
        max_positions: The decoder's, linked from the model.
        too_long: What happens to a conversation longer than a row: `split` before questions, each part with what the
            system says (a question with its answer that fits no row is left out), `refuse` leaves it out, `cut` cuts
            it where rows end. What is left out counts as bad records.
    """

    def __init__(
        self,
        shards: dict[str, float],
        tokenizer: str,
        val_shards: list[str] | None = None,
        row_tokens: int = 256,
        rows_per_batch: int = 32,
        seed: int = 0,
        num_workers: int = 1,
        max_bad_fraction: float = 0.01,
        max_positions: int | None = None,
        too_long: TooLong = "split",
    ) -> None:
        super().__init__(shards, tokenizer, val_shards, seed, num_workers, max_bad_fraction, max_positions)
        require_rows(row_tokens, rows_per_batch)
        self.too_long: TooLong = too_long
        self.row_tokens = row_tokens
        self.rows_per_batch = rows_per_batch

    @property
    def _most_rows(self) -> tuple[str, int]:
        return "rows_per_batch", self.rows_per_batch

    @property
    def piece_tokens(self) -> int:
        """The most tokens of one document or conversation in a row."""
        return self.row_tokens if self.max_positions is None else min(self.row_tokens, self.max_positions)

    def prepare_data(self) -> None:
        """Count the tokens of every folder, and find the parts of long conversations; once on each machine."""
        super().prepare_data()
        tokenizer = Tokenizer.load(self.tokenizer)
        for name in (*self.shards, *self.val_shards):
            index = ShardIndex.load(name)
            conversation_parts(index, load_tokens(index, tokenizer), tokenizer, self.piece_tokens)

    def _eligible(self, folder: Folder, weight: float) -> Eligible:
        assert self._text_tokenizer is not None
        parts = conversation_parts(folder.index, folder.counts, self._text_tokenizer, self.piece_tokens)
        return eligible_text(folder, weight, parts, self.too_long)

    def _order(self, sources: Sequence[Source], seed: int, is_training: bool) -> Order:
        return PackedOrder(
            sources,
            row_tokens=self.row_tokens,
            rows_per_batch=self.rows_per_batch,
            seed=seed,
            max_positions=self.max_positions,
        )

    def _reader(
        self, folders: Sequence[Folder], tokenizer: Tokenizer, seed: int, is_training: bool
    ) -> Reader:
        return Reader(folders, tokenizer, seed, max_part_tokens=self.piece_tokens)

    def _collate(self, tokenizer: Tokenizer, names: tuple[str, ...]) -> Collate[TextBatch]:
        return partial(collate_text, source_names=names)


class SpeechTextData(ShardData[SpeechTextBatch]):
    """Speech with text, or simulated CTC paths with text, in batches of like length under a budget.

    Args:
        shards: Folder -> weight, the visits of each of its records in an epoch.
        tokenizer: The tokenizer's folder.
        val_shards: Folders to validate on, each record once, without augmentation.
        geometry: The model's, linked from it; a mapping of its fields will do.
        max_audio_tokens: Most audio tokens of a global micro-batch, padding included.
        max_text_tokens: Most text tokens of a global micro-batch, padding included and audio not.
        max_rows: Most rows of a global micro-batch.
        shortest_first_epochs: Epochs at the start of training that go from the shortest batch to the longest.
        seed: Of the order, of augmentation and of paths.
        num_workers: Processes that read.
        paths: Simulates CTC paths in place of clips; None hears the clips.
        augment: What is done to a training clip; None leaves it as it is.
        max_bad_fraction: Bad records above which the run stops.
        max_positions: The decoder's, linked from the model.
    """

    def __init__(
        self,
        shards: dict[str, float],
        tokenizer: str,
        val_shards: list[str] | None = None,
        geometry: AudioGeometry | dict[str, Any] | None = None,
        max_audio_tokens: int = 1600,
        max_text_tokens: int = 1600,
        max_rows: int = 16,
        shortest_first_epochs: int = 0,
        seed: int = 0,
        num_workers: int = 1,
        paths: CtcPaths | None = None,
        augment: Augment | None = None,
        max_bad_fraction: float = 0.01,
        max_positions: int | None = None,
    ) -> None:
        super().__init__(shards, tokenizer, val_shards, seed, num_workers, max_bad_fraction, max_positions)
        self.geometry = _geometry(geometry)
        self.max_audio_tokens = max_audio_tokens
        self.max_text_tokens = max_text_tokens
        self.max_rows = max_rows
        self.shortest_first_epochs = shortest_first_epochs
        self.paths = paths
        self.augment = augment

    @property
    def _most_rows(self) -> tuple[str, int]:
        return "max_rows", self.max_rows

    def _eligible(self, folder: Folder, weight: float) -> Eligible:
        return eligible_speech(
            folder,
            weight,
            geometry=self.geometry,
            paths=self.paths,
            max_audio_tokens=self.max_audio_tokens,
            max_text_tokens=self.max_text_tokens,
            max_positions=self.max_positions,
        )

    def _order(self, sources: Sequence[Source], seed: int, is_training: bool) -> Order:
        return BudgetOrder(
            sources,
            max_audio_tokens=self.max_audio_tokens,
            max_text_tokens=self.max_text_tokens,
            max_rows=self.max_rows,
            seed=seed,
            shortest_first_epochs=self.shortest_first_epochs if is_training else 0,
        )

    def _reader(
        self, folders: Sequence[Folder], tokenizer: Tokenizer, seed: int, is_training: bool
    ) -> Reader:
        augment = self.augment if is_training else None
        return Reader(folders, tokenizer, seed, geometry=self.geometry, paths=self.paths, augment=augment)

    def _collate(self, tokenizer: Tokenizer, names: tuple[str, ...]) -> Collate[SpeechTextBatch]:
        return partial(collate_speech, blank=tokenizer.vocab_size)


def require_rows(row_tokens: int, rows_per_batch: int) -> None:
    """Raise `InputError` where there could be no row."""
    require("row_tokens", row_tokens, row_tokens >= 2, "at least 2")
    require("rows_per_batch", rows_per_batch, rows_per_batch >= 1, "at least 1")


def require(name: str, found: object, holds: bool, wanted: str) -> None:
    """Raise `InputError` where a value of the data's configuration cannot be."""
    if not holds:
        raise InputError("data", field=name, found=found, wanted=wanted, remedy="correct the value")


def _geometry(value: AudioGeometry | Mapping[str, Any] | None) -> AudioGeometry | None:
    """Return the geometry of a mapping of its fields: links between instances carry no dataclasses."""
    if value is None or isinstance(value, AudioGeometry):
        return value
    stages = tuple(s if isinstance(s, LengthStage) else LengthStage(**s) for s in value["stages"])
    return AudioGeometry(**{**value, "stages": stages})
