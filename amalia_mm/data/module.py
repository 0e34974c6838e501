"""The LightningDataModules: text in packed rows, and speech with text under a budget.

They put the rooms of this folder together; each batch follows from (seed, step), so the only state of a run
is the trainer's step. They know nothing of models: an audio geometry is all they are told.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.geometry import AudioGeometry, LengthStage
from amalia_mm.batch import SpeechTextBatch, TextBatch
from amalia_mm.data.collate import collate_speech, collate_text
from amalia_mm.data.conversation import TooLong
from amalia_mm.data.ctc_paths import CtcPaths
from amalia_mm.data.eligible import Eligible, eligible_speech, eligible_text
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.order import BudgetOrder, Order, PackedOrder
from amalia_mm.data.parts import conversation_parts
from amalia_mm.data.reader import Folder, Reader
from amalia_mm.data.shard_data import TokenData, require, require_rows
from amalia_mm.data.steps import Collate
from amalia_mm.data.tokens import load_tokens
from amalia_mm.data.visits import Source
from amalia_mm.text.ctc_vocabulary import CtcVocabulary
from amalia_mm.text.tokenizer import Tokenizer

_LOG = logging.getLogger(__name__)


class TextData(TokenData[TextBatch]):
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

    def _eligible(self, folder: Folder, weight: float, is_training: bool) -> Eligible:
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

    def _reader(self, folders: Sequence[Folder], seed: int, is_training: bool) -> Reader:
        return Reader(folders, self._text_tokenizer, seed, max_part_tokens=self.piece_tokens)

    def _collate(self, names: tuple[str, ...]) -> Collate[TextBatch]:
        return partial(collate_text, source_names=names)


class SpeechTextData(TokenData[SpeechTextBatch]):
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
        max_padding: Most of a batch's audio that is padding, as a share; None fills every batch (`BudgetOrder`).
        seed: Of the order, of augmentation and of paths.
        num_workers: Processes that read.
        paths: Simulates CTC paths in place of clips; None hears the clips.
        augment: What is done to a training clip; None leaves it as it is.
        max_bad_fraction: Bad records above which the run stops.
        max_positions: The decoder's, linked from the model.
        unread_tasks: Tasks whose clips are not given as text beside; None gives none as text. Linked from the model.
        ctc_tokens: What the classes of the model's CTC head write, with their tokens, where it has a vocabulary of its
            own; linked from the model.
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
        unread_tasks: list[str] | None = None,
        ctc_tokens: dict[str, int] | None = None,
        max_padding: float | None = None,
    ) -> None:
        super().__init__(shards, tokenizer, val_shards, seed, num_workers, max_bad_fraction, max_positions)
        holds = max_padding is None or 0 < max_padding <= 1
        require("max_padding", max_padding, holds, "a share above 0, or none")
        self.max_padding = max_padding
        self.geometry = _geometry(geometry)
        self._vocabulary = None if ctc_tokens is None else CtcVocabulary(ctc_tokens)
        self.max_audio_tokens = max_audio_tokens
        self.max_text_tokens = max_text_tokens
        self.max_rows = max_rows
        self.shortest_first_epochs = shortest_first_epochs
        self.paths = paths
        self.augment = augment
        self.unread_tasks = unread_tasks

    def setup(self, stage: str | None = None) -> None:
        """Load indices and counts, and see that recordings to mix in are there; `InputError` names what is not."""
        super().setup(stage)
        if self.augment is not None and self.paths is None and stage in (None, "fit"):
            self.augment.check_sounds()

    @property
    def budget(self) -> dict[str, int]:
        """The options that say how large a global micro-batch is, and their values."""
        return {
            "max_audio_tokens": self.max_audio_tokens,
            "max_text_tokens": self.max_text_tokens,
            "max_rows": self.max_rows,
        }

    @property
    def _most_rows(self) -> tuple[str, int]:
        return "max_rows", self.max_rows

    def _eligible(self, folder: Folder, weight: float, is_training: bool) -> Eligible:
        return eligible_speech(
            folder,
            weight,
            geometry=self.geometry,
            paths=self.paths,
            max_audio_tokens=self.max_audio_tokens,
            max_text_tokens=self.max_text_tokens,
            max_positions=self.max_positions,
            speeds=self._speeds if is_training else (1.0,),
        )

    @property
    def _speeds(self) -> tuple[float, ...]:
        return (1.0,) if self.augment is None else tuple(self.augment.speeds)

    def _order(self, sources: Sequence[Source], seed: int, is_training: bool) -> Order:
        return BudgetOrder(
            sources,
            max_audio_tokens=self.max_audio_tokens,
            max_text_tokens=self.max_text_tokens,
            max_rows=self.max_rows,
            seed=seed,
            shortest_first_epochs=self.shortest_first_epochs if is_training else 0,
            max_padding=self.max_padding,
        )

    def _reader(self, folders: Sequence[Folder], seed: int, is_training: bool) -> Reader:
        augment = self.augment if is_training else None
        return Reader(
            folders,
            self._text_tokenizer,
            seed,
            geometry=self.geometry,
            paths=self.paths,
            augment=augment,
            unread_tasks=self.unread_tasks,
            vocabulary=self._vocabulary,
        )

    def _collate(self, names: tuple[str, ...]) -> Collate[SpeechTextBatch]:
        return collate_speech


def _geometry(value: AudioGeometry | Mapping[str, Any] | None) -> AudioGeometry | None:
    """Return the geometry of a mapping of its fields: links between instances carry no dataclasses."""
    if value is None or isinstance(value, AudioGeometry):
        return value
    stages = tuple(s if isinstance(s, LengthStage) else LengthStage(**s) for s in value["stages"])
    return AudioGeometry(**{**value, "stages": stages})
