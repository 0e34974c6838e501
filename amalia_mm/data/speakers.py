"""Speaker-balanced batches: which clips of whom are in the batch of a step, and the stretch of each that is heard.

A pure function of (seed, step), like `order.py`, but cut by speaker: each batch has some speakers, and as many clips
of one as of another, however many somebody has recorded. It knows nothing of models.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.io import load_audio
from amalia_mm.audio.speed import at_speed
from amalia_mm.batch import IGNORE, SpeakerBatch
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.order import Ref, Row
from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples

_ROUND, _CLIPS, _LENGTH, _START = 11, 12, 13, 14
"""Keep these uses of the seed apart from one another and from those of `order.py` and `visits.py`."""
_MIN_CLIPS = 2
"""A speaker with fewer is not learned: nothing would say what stays the same."""


@dataclass(frozen=True)
class Speakers:
    """Who is learned: the names of classes, and the clips of each.

    A speaker heard at another speed is another speaker: pitch and formants move with it.
    """

    names: tuple[str, ...]
    clips: tuple[tuple[Ref, ...], ...]
    left_out: Mapping[str, int]
    """How many records of all folders were left out, by reason."""


def speakers_of(
    folders: Sequence[ShardIndex],
    *,
    speeds: Sequence[float] = (1.0,),
    only: Collection[str] | None = None,
    leave_out: Collection[str] = (),
    min_clip_s: float = 0.5,
) -> Speakers:
    """Return the speakers of folders of shards in the order of their names, and their clips.

    Args:
        folders: The sources of references, in order.
        speeds: Each makes another speaker of everyone.
        only: The names of those who are heard; None is everyone.
        leave_out: The names of those who are not.
        min_clip_s: Shorter clips say too little of a voice.

    Raises:
        InputError: A name is in no folder, or fewer than two speakers are left.
    """
    reasons: Counter[str] = Counter()
    found: dict[str, list[tuple[int, int]]] = {}
    min_samples = seconds_to_samples(min_clip_s)
    for source, index in enumerate(folders):
        for record in range(len(index)):
            name = index.coded["speaker"][record]
            if name and (name in leave_out or (only is not None and name not in only)):
                reasons["of speakers who are not asked for"] += 1
            elif not index.num_samples[record] or not name:
                reasons["without a clip" if name else "without a speaker's name"] += 1
            elif index.num_samples[record] < min_samples:
                reasons[f"under {min_clip_s:g} s"] += 1
            else:
                found.setdefault(name, []).append((source, record))
    _check_names(folders, [*(only or ()), *leave_out])
    for name in [name for name, clips in found.items() if len(clips) < _MIN_CLIPS]:
        reasons["of a speaker with a single clip"] += len(found.pop(name))
    if len(found) < 2:
        where = ", ".join(str(index.folder) for index in folders)
        left = "; ".join(f"{count} records {reason}" for reason, count in reasons.items())
        remedy = "give shards of more speakers; they are named in each record's `speaker`"
        raise InputError(
            where,
            field="speaker",
            found=f"{len(found)} speakers with two clips or more ({left})",
            wanted="2 or more",
            remedy=remedy,
        )
    classes = [(name, speed) for name in sorted(found) for speed in speeds]
    return Speakers(
        names=tuple(name if speed == 1.0 else f"{name} at {speed:g}" for name, speed in classes),
        clips=tuple(tuple(Ref(s, r, speed=speed) for s, r in found[name]) for name, speed in classes),
        left_out=dict(reasons),
    )


def _check_names(folders: Sequence[ShardIndex], names: Sequence[str]) -> None:
    known = {value for index in folders for value in index.coded["speaker"].values}
    for name in names:
        if name not in known:
            where = ", ".join(str(index.folder) for index in folders)
            remedy = "correct the name, or leave it out"
            raise InputError(
                where, field="speaker", found=f"no {name!r}", wanted="a speaker of the shards", remedy=remedy
            )


class SpeakerOrder:
    """An endless sequence of batches of some speakers with as many clips each; speakers stand together.

    Every speaker comes once in a round, and every clip of theirs once before any comes again.

    Args:
        speakers: Who is heard.
        speakers_per_batch: Speakers of a batch, at most as many as there are.
        clips_per_speaker: Clips of each in a batch.
        seed: Another seed gives another order.
    """

    def __init__(
        self, speakers: Speakers, *, speakers_per_batch: int, clips_per_speaker: int, seed: int
    ) -> None:
        self.speakers = speakers
        self.speakers_per_batch = min(speakers_per_batch, len(speakers.names))
        self.clips_per_speaker = clips_per_speaker
        self.seed = seed

    def batch(self, step: int) -> tuple[Row, ...]:
        """Return the rows of the global batch of a micro-step, whatever was asked for before."""
        if step < 0:
            raise ValueError(f"a step cannot be negative: {step}")
        first = step * self.speakers_per_batch
        rows: list[Row] = []
        for place in range(first, first + self.speakers_per_batch):
            turn, number = divmod(place, len(self.speakers.names))
            order = np.random.default_rng([self.seed, _ROUND, turn]).permutation(len(self.speakers.names))
            rows += self._clips(int(order[number]), turn, step)
        return tuple(rows)

    def num_batches(self, epoch: int) -> int:
        """Return how many batches hear every speaker once."""
        return -(-len(self.speakers.names) // self.speakers_per_batch)

    def largest(self) -> dict[str, tuple[Row, ...]]:
        """Return a batch: no step of the order has more rows."""
        return {"any batch": self.batch(0)}

    def _clips(self, speaker: int, turn: int, step: int) -> list[Row]:
        clips, rows = self.speakers.clips[speaker], []
        for visit in range(turn * self.clips_per_speaker, (turn + 1) * self.clips_per_speaker):
            lap, place = divmod(visit, len(clips))
            order = np.random.default_rng([self.seed, _CLIPS, speaker, lap]).permutation(len(clips))
            clip = clips[int(order[place])]
            rows.append((Ref(clip.source, clip.record, appearance=step, speed=clip.speed),))
        return rows


@dataclass(frozen=True)
class Spoken:
    """A stretch of a clip, and which class says it."""

    id: str
    waveform: Tensor
    speaker: int
    where: str


@dataclass(frozen=True)
class SpeakerReader:
    """References of the order to stretches of clips; the same reference is always the same stretch.

    Args:
        folders: The sources of the order.
        speakers: The classes of what is read.
        seed: Of the stretches and of augmentation.
        crop_s: The shortest and the longest stretch; each batch has one length, drawn in between. A shorter clip
            stays whole. None hears whole clips.
        augment: What is done to a stretch; None leaves it as it is.
    """

    folders: Sequence[ShardIndex]
    speakers: Speakers
    seed: int
    crop_s: tuple[float, float] | None = None
    augment: Augment | None = None

    def read(self, ref: Ref) -> Spoken:
        """Return the stretch of one reference; `InputError` where the record or its clip is bad."""
        index = self.folders[ref.source]
        where = index.where(ref.record)
        record, audio = read_record(index, ref.record)
        if audio is None:
            remedy = "leave the folder out: speakers are heard"
            raise InputError(where, field="audio", found="no clip", wanted="a clip", remedy=remedy)
        waveform = self._stretch(load_audio(audio, where=where), ref)
        if self.augment is not None:
            words = self._rng(_START, ref).integers(2**62, size=2)
            waveform = self.augment(waveform, torch.Generator().manual_seed(int(words[1])))
        name = record.speaker if ref.speed == 1.0 else f"{record.speaker} at {ref.speed:g}"
        return Spoken(record.id, waveform, self.speakers.names.index(name), where)

    def _stretch(self, waveform: Tensor, ref: Ref) -> Tensor:
        """Return a stretch of a clip at the reference's speed, as long as those of its batch where the clip is."""
        if self.crop_s is None:
            return at_speed(waveform, ref.speed)
        num_samples = self.num_samples(ref.appearance)
        # Only what is heard is resampled.
        needed = math.ceil(num_samples * ref.speed)
        if len(waveform) > needed:
            start = int(self._rng(_START, ref).integers(len(waveform) - needed + 1))
            waveform = waveform[start : start + needed]
        return at_speed(waveform, ref.speed)[:num_samples]

    def num_samples(self, step: int) -> int:
        """Return how long the stretches in the batch of a step are; what reads whole clips has no such length."""
        if self.crop_s is None:
            raise ValueError("whole clips are read: their stretches have no length in common")
        length_s = np.random.default_rng([self.seed, _LENGTH, step]).uniform(*self.crop_s)
        return round(length_s * SAMPLE_RATE_HZ)

    def _rng(self, use: int, ref: Ref) -> np.random.Generator:
        percent = round(ref.speed * 100)
        return np.random.default_rng([self.seed, use, ref.appearance, ref.source, ref.record, percent])


def collate_speakers(rows: Sequence[Sequence[Spoken]], *, has_loss: bool = True) -> SpeakerBatch:
    """Return the batch of stretches, padded to the longest; without loss every class is `IGNORE`.

    No rows at all give half a second of silence that teaches nothing: the batch of a rank that has nothing.
    """
    spoken = [each for row in rows for each in row]
    waveforms = [each.waveform for each in spoken] or [torch.zeros(SAMPLE_RATE_HZ // 2)]
    speakers = [each.speaker if has_loss else IGNORE for each in spoken] or [IGNORE]
    return SpeakerBatch(
        waveforms=torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True),
        num_samples=torch.tensor([len(each) for each in waveforms]),
        speakers=torch.tensor(speakers),
        record_ids=tuple(each.id for each in spoken),
        places=tuple(each.where for each in spoken),
    )
