"""The LightningDataModule of preference: pairs packed into rows, and conversations whose answers are watched.

It knows nothing of models: what a reference thinks of a pair is looked up by its record id (`train/reference.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from amalia_mm.batch import PreferenceBatch, TextBatch
from amalia_mm.data.collate import collate_pairs
from amalia_mm.data.eligible import Eligible, eligible_pairs
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.module import TextData
from amalia_mm.data.order import Order, PackedOrder
from amalia_mm.data.reader import Folder, Reader
from amalia_mm.data.shard_data import TokenData, require_rows
from amalia_mm.data.steps import Collate, Loader, finite_loader
from amalia_mm.data.visits import Source


class PairData(TokenData[PreferenceBatch]):
    """Pairs of preference, both sides in one row of at most `row_tokens`.

    Args:
        shards: Folder of pairs -> weight, the visits of each of its records in an epoch.
        tokenizer: The tokenizer's folder.
        val_shards: Folders of pairs to validate on, each record once.
        task_shards: Folders of conversations: validation counts the answers that the model would give exactly.
        row_tokens: Most tokens of a row; a pair that does not fit is left out and counted.
        rows_per_batch: Most rows of a global micro-batch.
        seed: Of the order.
        num_workers: Processes that read.
        max_bad_fraction: Bad records above which the run stops.
        max_positions: The decoder's, linked from the model.
    """

    def __init__(
        self,
        shards: dict[str, float],
        tokenizer: str,
        val_shards: list[str] | None = None,
        task_shards: list[str] | None = None,
        row_tokens: int = 512,
        rows_per_batch: int = 16,
        seed: int = 0,
        num_workers: int = 1,
        max_bad_fraction: float = 0.01,
        max_positions: int | None = None,
    ) -> None:
        super().__init__(shards, tokenizer, val_shards, seed, num_workers, max_bad_fraction, max_positions)
        require_rows(row_tokens, rows_per_batch)
        self.row_tokens = row_tokens
        self.rows_per_batch = rows_per_batch
        self._tasks: TextData | None = None
        if task_shards:
            weights = dict.fromkeys(task_shards, 1.0)
            self._tasks = TextData(
                weights,
                tokenizer,
                task_shards,
                row_tokens,
                rows_per_batch,
                num_workers=num_workers,
                max_bad_fraction=max_bad_fraction,
                max_positions=max_positions,
            )

    def prepare_data(self) -> None:
        """Count the tokens of every folder that has no count for this tokenizer yet; once on each machine."""
        super().prepare_data()
        if self._tasks is not None:
            self._tasks.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Load the indices and counts; raises `InputError` naming what is missing, cut or stale."""
        super().setup(stage)
        if self._tasks is not None:
            self._tasks.trainer = self.trainer
            self._tasks.setup("validate")

    def val_dataloader(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> list[Loader[PreferenceBatch] | Loader[TextBatch]]:
        """Return the batches of validation of this process, always the same: pairs, then conversations."""
        loaders = [super().val_dataloader(), [] if self._tasks is None else self._tasks.val_dataloader()]
        return [loader for loader in loaders if not isinstance(loader, list)]

    @property
    def pair_folders(self) -> dict[str, ShardIndex]:
        """The folders of pairs of this run by name, loaded by `setup`."""
        return {name: folder.index for name, folder in self._folders.items()}

    def each_pair_once(self, name: str) -> Loader[PreferenceBatch]:
        """Return this process's share of the pairs of one folder, each once."""
        steps, _ = self._steps({name: 1.0}, seed=0, is_training=False)
        return finite_loader(steps, steps.order.num_batches(epoch=0), self.num_workers)

    @property
    def _most_rows(self) -> tuple[str, int]:
        return "rows_per_batch", self.rows_per_batch

    def _eligible(self, folder: Folder, weight: float, is_training: bool) -> Eligible:
        return eligible_pairs(folder, weight, self.row_tokens)

    def _order(self, sources: Sequence[Source], seed: int, is_training: bool) -> Order:
        return PackedOrder(sources, row_tokens=self.row_tokens, rows_per_batch=self.rows_per_batch, seed=seed)

    def _reader(self, folders: Sequence[Folder], seed: int, is_training: bool) -> Reader:
        most = self.row_tokens if self.max_positions is None else self.max_positions
        return Reader(folders, self._text_tokenizer, seed, max_side_tokens=most)

    def _collate(self, names: tuple[str, ...]) -> Collate[PreferenceBatch]:
        return collate_pairs
