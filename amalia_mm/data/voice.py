"""The LightningDataModule of voices: clips and their phones, in batches of like length under a budget.

From the same shards as speech, in the same order; each batch follows from (seed, step).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from amalia_mm.batch import VoiceBatch
from amalia_mm.data.eligible import Eligible, eligible_voice, kept_at_least
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.order import BudgetOrder, Order
from amalia_mm.data.reader import Folder
from amalia_mm.data.shard_data import ShardData, require
from amalia_mm.data.steps import Collate
from amalia_mm.data.visits import Source
from amalia_mm.data.voice_phones import index_phones, load_phones
from amalia_mm.data.voice_reader import VoiceReader, collate_voice, num_frames_at


class VoiceData(ShardData[VoiceBatch]):
    """Clips with what is said in them, of every record of speech that says something.

    Args:
        shards: Folder -> weight, the visits of each of its records in an epoch. Clips kept at a lower rate than the
            model's are left out and told.
        val_shards: Folders to validate on, each record once.
        voice_frames: The model's `sample_rate_hz`, `hop_samples` and `fft_samples`, linked from it.
        max_frames: Most frames of a global batch, padding included.
        max_phones: Most phones of a global batch, padding included.
        max_rows: Most rows of a global batch.
        max_padding: Most of a batch's frames that are padding, as a share; None fills every batch (`BudgetOrder`).
        level_db: Root mean square that every clip is brought to, relative to full scale; None leaves them as they are.
        seed: Of the order.
        num_workers: Processes that read.
        max_bad_fraction: Bad records above which the run stops.
    """

    def __init__(
        self,
        shards: dict[str, float],
        val_shards: list[str] | None = None,
        voice_frames: dict[str, int] | None = None,
        max_frames: int = 4000,
        max_phones: int = 2000,
        max_rows: int = 16,
        max_padding: float | None = None,
        level_db: float | None = -23.0,
        seed: int = 0,
        num_workers: int = 1,
        max_bad_fraction: float = 0.01,
    ) -> None:
        super().__init__(shards, val_shards, seed, num_workers, max_bad_fraction)
        holds = max_padding is None or 0 < max_padding <= 1
        require("max_padding", max_padding, holds, "a share above 0, or none")
        frames = voice_frames or {"sample_rate_hz": 24_000, "hop_samples": 256, "fft_samples": 1024}
        self.sample_rate_hz, self.hop_samples = frames["sample_rate_hz"], frames["hop_samples"]
        self.fft_samples = frames["fft_samples"]
        self.max_frames, self.max_phones, self.max_rows = max_frames, max_phones, max_rows
        self.max_padding, self.level_db = max_padding, level_db
        self.speaker_names: tuple[str, ...] = ()
        """Who speaks in the training folders, in the order of their numbers; after `setup`."""

    def prepare_data(self) -> None:
        """Count the phones of every folder that has no count yet; once on each machine."""
        for folder in (*self.shards, *self.val_shards):
            index_phones(folder)

    def setup(self, stage: str | None = None) -> None:
        """Load indices and counts, and who speaks; raises `InputError` naming what is missing, cut or stale."""
        super().setup(stage)
        # Numbers of speakers are those of training, where nothing is trained as well.
        indices = [ShardIndex.load(folder) for folder in self.shards]
        names = {name for index in indices for name in index.coded["speaker"].values}
        self.speaker_names = tuple(sorted(names - {""}))

    @property
    def budget(self) -> dict[str, int]:
        """The options that say how large a global micro-batch is, and their values."""
        return {"max_frames": self.max_frames, "max_phones": self.max_phones, "max_rows": self.max_rows}

    @property
    def _most_rows(self) -> tuple[str, int]:
        return "max_rows", self.max_rows

    def _load(self, name: str) -> Folder:
        index = ShardIndex.load(name)
        return Folder(index, load_phones(index))

    def _eligible(self, folder: Folder, weight: float, is_training: bool) -> Eligible:
        num_frames = num_frames_at(folder.index.num_samples, self.sample_rate_hz, self.hop_samples)
        is_kept = kept_at_least(folder.index, self.sample_rate_hz)
        return eligible_voice(folder, weight, num_frames, self.max_frames, self.max_phones, is_kept)

    def _order(self, sources: Sequence[Source], seed: int, is_training: bool) -> Order:
        return BudgetOrder(
            sources,
            max_audio_tokens=self.max_frames,
            max_text_tokens=self.max_phones,
            max_rows=self.max_rows,
            seed=seed,
            max_padding=self.max_padding,
        )

    def _reader(self, folders: Sequence[Folder], seed: int, is_training: bool) -> VoiceReader:
        rates = (self.sample_rate_hz, self.hop_samples, self.fft_samples)
        return VoiceReader(folders, *rates, self.level_db, self.speaker_names)

    def _collate(self, names: tuple[str, ...]) -> Collate[VoiceBatch]:
        return partial(collate_voice, speaker_names=self.speaker_names, silence_samples=2 * self.fft_samples)
