"""Windows of speech for a vocoder: one of each clip that is visited, from a place that (seed, record, visit) decide.

Clips are decoded at the rate that is spoken, not at that which is heard. It needs no tokenizer and no text.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amalia_mm.audio.io import load_audio
from amalia_mm.batch import WaveformBatch
from amalia_mm.data.eligible import Eligible, kept_at_least
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.order import BudgetOrder, Order, Ref
from amalia_mm.data.reader import Folder
from amalia_mm.data.shard_data import ShardData, require
from amalia_mm.data.tokens import TokenCounts
from amalia_mm.data.visits import Source
from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ

_LOG = logging.getLogger(__name__)
_SILENT_PEAK = 1e-4
"""A window no louder than this teaches nothing; 16 bits have steps of a third of it."""
_MOST_TRIES = 8


@dataclass(frozen=True)
class Window:
    """A piece of a clip."""

    waveform: Tensor
    """(n) float32."""
    where: str
    """Its shard and record, as errors name them."""


@dataclass(frozen=True)
class WindowReader:
    """Reads one window of a clip; the same record at the same appearance always gives the same one.

    Args:
        folders: The sources of the order.
        sample_rate_hz: Of the windows.
        window_samples: Their length.
        seed: With source, record and appearance it decides where the window lies, and how loud it is.
        gain_db: Loudness is changed by up to this much, up or down; never beyond a peak of 1.
    """

    folders: Sequence[ShardIndex]
    sample_rate_hz: int
    window_samples: int
    seed: int
    gain_db: float = 0.0

    def read(self, ref: Ref) -> Window:
        """Return the window of one reference: where a clip is silent there, of another place in it.

        Raises:
            InputError: The record or its clip is bad, or shorter than a window.
        """
        index = self.folders[ref.source]
        where = index.where(ref.record)
        _, audio = read_record(index, ref.record)
        if audio is None:
            remedy = "leave shards of text out of `data.shards`"
            raise InputError(where, field="audio", found="no clip", wanted="a clip", remedy=remedy)
        clip = load_audio(audio, where=where, sample_rate_hz=self.sample_rate_hz)
        if len(clip) < self.window_samples:
            found, wanted = f"{len(clip)} samples", f"at least {self.window_samples}, the length of a window"
            remedy = f"run `amalia shards verify {index.folder}`"
            raise InputError(where, field="audio", found=found, wanted=wanted, remedy=remedy)
        dice = np.random.default_rng([self.seed, ref.source, ref.record, ref.appearance])
        window = clip[:0]
        for start in dice.integers(len(clip) - self.window_samples + 1, size=_MOST_TRIES):
            window = clip[start : start + self.window_samples]
            if float(window.abs().max()) > _SILENT_PEAK:
                break
        else:
            window = self._loudest(clip, where)
        gain = 10.0 ** (float(dice.uniform(-self.gain_db, self.gain_db)) / 20.0)
        peak = max(float(window.abs().max()), 1e-9)
        return Window(window * min(gain, max(1.0, 1.0 / peak)), where)

    def _loudest(self, clip: Tensor, where: str) -> Tensor:
        """Return the window around the loudest sample; `InputError` where the whole clip is silent."""
        if float(clip.abs().max()) <= _SILENT_PEAK:
            remedy = "leave the record out: it has no speech"
            raise InputError(where, field="audio", found="silence", wanted="speech", remedy=remedy)
        middle = int(clip.abs().argmax()) - self.window_samples // 2
        start = min(max(middle, 0), len(clip) - self.window_samples)
        return clip[start : start + self.window_samples]


@dataclass(frozen=True)
class CollateWindows:
    """Windows to a batch; a process that has none gets a silent one, and nothing to learn from it."""

    window_samples: int

    def __call__(self, rows: Sequence[Sequence[Window]], *, has_loss: bool) -> WaveformBatch:
        """Return the batch of rows of one window each."""
        windows = [window for row in rows for window in row] if has_loss else []
        if not windows:
            return WaveformBatch(torch.zeros(1, self.window_samples))
        return WaveformBatch(
            torch.stack([window.waveform for window in windows]), tuple(window.where for window in windows)
        )


class WaveformData(ShardData[WaveformBatch]):
    """Windows of speech, the same number of them in every batch.

    Args:
        shards: Folder -> weight, the visits of each of its records in an epoch. Clips kept at a lower rate than the
            windows' are left out and told.
        val_shards: Folders to validate on, one window of each record.
        sample_rate_hz: Of the windows; linked from the model.
        window_samples: Their length, of training and validation; shorter clips are left out and counted.
        windows_per_batch: Windows of a global micro-batch.
        gain_db: Loudness of training windows is changed by up to this much.
        seed: Of the order, and of what of each clip is heard.
        num_workers: Processes that read.
        max_bad_fraction: Bad records above which the run stops.
    """

    def __init__(
        self,
        shards: dict[str, float],
        val_shards: list[str] | None = None,
        sample_rate_hz: int = 24_000,
        window_samples: int = 16_384,
        windows_per_batch: int = 16,
        gain_db: float = 6.0,
        seed: int = 0,
        num_workers: int = 1,
        max_bad_fraction: float = 0.01,
    ) -> None:
        super().__init__(shards, val_shards, seed, num_workers, max_bad_fraction)
        require("window_samples", window_samples, window_samples >= 1, "at least 1")
        require("windows_per_batch", windows_per_batch, windows_per_batch >= 1, "at least 1")
        require("gain_db", gain_db, gain_db >= 0, "at least 0")
        self.sample_rate_hz = sample_rate_hz
        self.window_samples = window_samples
        self.windows_per_batch = windows_per_batch
        self.gain_db = gain_db

    @property
    def _most_rows(self) -> tuple[str, int]:
        return "windows_per_batch", self.windows_per_batch

    def _load(self, name: str) -> Folder:
        index = ShardIndex.load(name)
        none = np.zeros(len(index), dtype=np.int64)
        return Folder(index, TokenCounts(none, none - 1))

    def _eligible(self, folder: Folder, weight: float, is_training: bool) -> Eligible:
        """Return the clips that a window fits into; words by themselves are often shorter: told, and no fault."""
        index = folder.index
        # The index counts at 16 kHz, rounded; a sample more makes up for that.
        needed = -(-self.window_samples * SAMPLE_RATE_HZ // self.sample_rate_hz) + 1
        is_kept = kept_at_least(index, self.sample_rate_hz)
        good = np.flatnonzero(is_kept & (index.num_samples >= needed))
        num_short, window_s = int(is_kept.sum()) - len(good), self.window_samples / self.sample_rate_hz
        if num_short:
            told = "%s: %d of %d records are shorter than a window of %.2f s (window_samples) and left out"
            _LOG.warning(told, index.folder, num_short, len(index), window_s)
        source = Source(weight, good, np.zeros(len(good), np.int64), np.ones(len(good), np.int64))
        if source.num_visits < 1:
            found = f"{len(good)} clips of {window_s:.2f} s or more in {len(index)} records, with weight {weight:g}"
            remedy = "make window_samples smaller, raise the weight, or leave the folder out"
            wanted = "at least one visit in an epoch"
            raise InputError(index.folder, field="weight", found=found, wanted=wanted, remedy=remedy)
        return Eligible(source, ())

    def _order(self, sources: Sequence[Source], seed: int, is_training: bool) -> Order:
        # Every window is one audio token long: batches of as many rows, in random order.
        most = self.windows_per_batch
        return BudgetOrder(sources, max_audio_tokens=most, max_text_tokens=1, max_rows=most, seed=seed)

    def _reader(self, folders: Sequence[Folder], seed: int, is_training: bool) -> WindowReader:
        indices = [folder.index for folder in folders]
        gain_db = self.gain_db if is_training else 0.0
        return WindowReader(indices, self.sample_rate_hz, self.window_samples, seed, gain_db)

    def _collate(self, names: tuple[str, ...]) -> CollateWindows:
        return CollateWindows(self.window_samples)
