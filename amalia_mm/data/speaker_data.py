"""The LightningDataModule of speakers: folders of shards in, endless speaker-balanced batches out.

Those who are validated on are never trained on: what counts is how unseen voices are told apart. No tokenizer is
needed, what is said does not matter.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import lightning as L

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.speed import check_speeds
from amalia_mm.batch import SpeakerBatch
from amalia_mm.data.bad_records import BadRecords
from amalia_mm.data.index import ShardIndex
from amalia_mm.data.order import Ref, Row
from amalia_mm.data.shard_data import require
from amalia_mm.data.speakers import SpeakerOrder, SpeakerReader, Speakers, collate_speakers, speakers_of
from amalia_mm.data.steps import Loader, Steps, endless_loader, finite_loader

_LOG = logging.getLogger(__name__)
_STEPS_LOOKED_AT = 4096
"""Of so many draws of a length the longest is as good as the longest there can be."""


class SpeakerData(L.LightningDataModule):
    """Clips of many speakers, as many of one as of another in every batch.

    Args:
        shards: Folders; a record's `speaker` says whose clip it is.
        val_speakers: Who is validated on and not trained on; None validates on nobody.
        only: Who is trained on; None is everyone else. A second encoder that judges the first must know other voices.
        leave_out: Who is neither trained on nor validated on.
        speakers_per_batch: Speakers of a global micro-batch.
        clips_per_speaker: Clips of each.
        crop_s: Shortest and longest stretch of a clip that is heard in training, in seconds.
        speeds: At each everyone is another speaker; pitch and formants move with it.
        augment: What is done to a stretch; None leaves it as it is.
        min_clip_s: Shorter clips are left out.
        seed: Of the order, of the stretches and of augmentation.
        num_workers: Processes that read.
        max_bad_fraction: Bad records above which the run stops.
    """

    def __init__(
        self,
        shards: list[str],
        val_speakers: list[str] | None = None,
        only: list[str] | None = None,
        leave_out: list[str] | None = None,
        speakers_per_batch: int = 16,
        clips_per_speaker: int = 2,
        crop_s: tuple[float, float] = (1.5, 2.5),
        speeds: tuple[float, ...] = (1.0,),
        augment: Augment | None = None,
        min_clip_s: float = 0.5,
        seed: int = 0,
        num_workers: int = 1,
        max_bad_fraction: float = 0.01,
    ) -> None:
        super().__init__()
        require("shards", shards or "none", bool(shards), "at least one folder of shards")
        require("seed", seed, seed >= 0, "at least 0")
        require("num_workers", num_workers, num_workers >= 0, "at least 0")
        require("speakers_per_batch", speakers_per_batch, speakers_per_batch >= 2, "at least 2")
        least = 2 if val_speakers else 1
        wanted = f"at least {least}" + (
            ": a clip is found by another one of its speaker" if val_speakers else ""
        )
        require("clips_per_speaker", clips_per_speaker, clips_per_speaker >= least, wanted)
        holds = 0 < crop_s[0] <= crop_s[1] < math.inf
        require("crop_s", list(crop_s), holds, "the shortest stretch and the longest, in seconds")
        check_speeds(tuple(speeds))
        self.shards = shards
        self.val_speakers = val_speakers or []
        self.only = only
        self.leave_out = leave_out or []
        self.speakers_per_batch, self.clips_per_speaker = speakers_per_batch, clips_per_speaker
        self.crop_s = (crop_s[0], crop_s[1])
        self.speeds = tuple(speeds)
        self.augment = augment
        self.min_clip_s = min_clip_s
        self.seed = seed
        self.num_workers = num_workers
        self.max_bad_fraction = max_bad_fraction
        self.steps: Steps[SpeakerBatch] | None = None
        """The training batches of this process by micro-step; None before `train_dataloader`."""
        self.bad_records: BadRecords | None = None
        self._folders: Sequence[ShardIndex] = ()
        self._speakers: Speakers | None = None

    def setup(self, stage: str | None = None) -> None:
        """Load the indices; raises `InputError` naming what is missing, and says how many records are left out."""
        if self._speakers is not None:
            return
        self._folders = [ShardIndex.load(folder) for folder in self.shards]
        self._speakers = speakers_of(
            self._folders,
            speeds=self.speeds,
            only=self.only,
            leave_out=[*self.leave_out, *self.val_speakers],
            min_clip_s=self.min_clip_s,
        )
        if self.augment is not None and stage in (None, "fit"):
            self.augment.check_sounds()
        for reason, count in self._speakers.left_out.items():
            _LOG.info("%d records %s are left out", count, reason)

    @property
    def speaker_names(self) -> tuple[str, ...]:
        """The classes of training, in order; after `setup`."""
        if self._speakers is None:
            raise ValueError("setup() must run before speakers are known")
        return self._speakers.names

    def train_dataloader(self) -> Loader[SpeakerBatch]:
        """Return the endless batches of this process, from the trainer's step on."""
        if self._speakers is None:
            raise ValueError("setup() must run before a loader is made")
        first = 0
        if self.trainer is not None:
            most = self.speakers_per_batch * self.clips_per_speaker
            wanted = f"at least {self.trainer.world_size} clips, one for each process: it is global"
            require("speakers_per_batch", most, most >= self.trainer.world_size, wanted)
            first = self.trainer.global_step * self.trainer.accumulate_grad_batches
        self.bad_records = BadRecords(self.shards, self.max_bad_fraction, self.num_workers)
        self.steps = self._steps(self._speakers, self._reader(), self.bad_records, self.seed)
        return endless_loader(self.steps, first, self.num_workers)

    @property
    def budget(self) -> dict[str, int]:
        """The option that says how large a global micro-batch is, and its value."""
        return {"speakers_per_batch": self.speakers_per_batch}

    def largest(self) -> dict[str, tuple[Row, ...]]:
        """Return as many copies of the longest clip as a global batch has rows, at a step that hears much of each."""
        if self.steps is None or self._speakers is None:
            raise ValueError("the largest batches are those of training: train_dataloader() must run before")
        longest = max((ref for clips in self._speakers.clips for ref in clips), key=self._samples_heard)
        step = max(range(_STEPS_LOOKED_AT), key=self._reader().num_samples)
        num_rows = len(self.steps.order.batch(0))
        return {"the longest stretches": ((replace(longest, appearance=step),),) * num_rows}

    def _samples_heard(self, ref: Ref) -> float:
        return float(self._folders[ref.source].num_samples[ref.record]) / ref.speed

    def _reader(self) -> SpeakerReader:
        assert self._speakers is not None
        return SpeakerReader(self._folders, self._speakers, self.seed, self.crop_s, self.augment)

    def val_dataloader(self) -> Loader[SpeakerBatch] | list[Loader[SpeakerBatch]]:
        """Return whole clips of the speakers to validate on, always the same; an empty list without any."""
        if not self.val_speakers:
            return []
        unseen = speakers_of(self._folders, only=self.val_speakers, min_clip_s=self.min_clip_s)
        bad_records = BadRecords(self.shards, self.max_bad_fraction, self.num_workers)
        # Every process hears all of them: a share of a batch has one clip of each speaker, and nothing to find it by.
        reader = SpeakerReader(self._folders, unseen, seed=0)
        steps = self._steps(unseen, reader, bad_records, seed=0, is_whole=True)
        return finite_loader(steps, steps.order.num_batches(epoch=0), self.num_workers)

    def teardown(self, stage: str) -> None:
        """Tell how many bad records were left out."""
        counts = self.bad_records.counts() if self.bad_records is not None and stage == "fit" else {}
        for folder, (bad, read) in counts.items():
            if bad:
                _LOG.warning("%s: %d bad records of %d read were left out", folder, bad, read)

    def _steps(
        self,
        speakers: Speakers,
        reader: SpeakerReader,
        bad_records: BadRecords,
        seed: int,
        is_whole: bool = False,
    ) -> Steps[SpeakerBatch]:
        order = SpeakerOrder(
            speakers,
            speakers_per_batch=self.speakers_per_batch,
            clips_per_speaker=self.clips_per_speaker,
            seed=seed,
        )
        return Steps(
            order=order,
            reader=reader,
            collate=collate_speakers,
            bad_records=bad_records,
            rank=0 if self.trainer is None or is_whole else self.trainer.global_rank,
            world_size=1 if self.trainer is None or is_whole else self.trainer.world_size,
        )
