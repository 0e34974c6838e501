"""Recordings of any length, read block by block: of three hours of sound a few seconds are in memory at a time.

What has to be known of the whole before any of it is heard, its length and its loudest sample, is found on a first
way through it. Damage is found there too, before hours of work. It knows nothing of speech.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from amalia_mm.audio.io import audio_blocks, load_audio
from amalia_mm.units import SAMPLE_RATE_HZ

_KEPT_SAMPLES = 300 * SAMPLE_RATE_HZ
"""Shorter recordings are decoded once and kept: 19 MB."""
_BLOCK_SAMPLES = 30 * SAMPLE_RATE_HZ


class Recording:
    """Sound at 16 kHz, mono, that can be read from its start as often as it is needed.

    Args:
        source: A file, the bytes of one, or a waveform (n).
        channel: Of a file: the one to hear, counted from 0; None is the mean of all.

    Raises:
        InputError: As `load_audio`.
        ValueError: A waveform that is not (n).
    """

    def __init__(self, source: Path | str | bytes | Tensor, channel: int | None = None) -> None:
        self.channel = channel
        self._path: Path | None = None
        self._kept: Tensor | None = None
        if isinstance(source, (str, Path)):
            self._path = Path(source)
            self.num_samples, self.peak = self._survey()
            return
        waveform = source if isinstance(source, Tensor) else load_audio(source, channel=channel)
        if waveform.ndim != 1:
            raise ValueError(
                f"a waveform has one axis, this one has {waveform.ndim}: shape {tuple(waveform.shape)}, not (n)"
            )
        self._kept = waveform.detach().to("cpu", torch.float32)
        self.num_samples, self.peak = len(waveform), _peak(self._kept)

    def blocks(self) -> Iterator[Tensor]:
        """Yield the sound from its start, in blocks (n) float32."""
        if self._kept is not None:
            yield from self._kept.split(_BLOCK_SAMPLES)
        elif self._path is not None:
            yield from audio_blocks(self._path, channel=self.channel)

    def whole(self) -> Tensor:
        """Return all of it, (n) float32."""
        return self._kept if self._kept is not None else torch.cat([*self.blocks()])

    def window(self) -> Window:
        """Return a reader of stretches of it, from its start on."""
        return Window(self.blocks())

    def _survey(self) -> tuple[int, float]:
        """Return how many samples there are and the loudest; a short recording is kept."""
        assert self._path is not None
        num_samples, peak, kept = 0, 0.0, []
        for block in audio_blocks(self._path, channel=self.channel):
            num_samples += len(block)
            peak = max(peak, _peak(block))
            kept = [*kept, block] if num_samples <= _KEPT_SAMPLES else []
        if num_samples <= _KEPT_SAMPLES:
            self._kept = torch.cat(kept)
        return num_samples, peak


class Window:
    """The stretch of a recording that is needed now, `window[start:end]` in samples of the whole.

    Stretches may overlap and go back, but not before what `forget` gave up.

    Args:
        blocks: The recording from its start, (n) each.
    """

    def __init__(self, blocks: Iterator[Tensor]) -> None:
        self._blocks = blocks
        self._held = torch.empty(0)
        self._start = 0

    def __getitem__(self, stretch: slice) -> Tensor:
        """Return (n) float32, in memory of its own; shorter where the recording ends before.

        Raises:
            ValueError: It begins before what is forgotten.
        """
        start, end = int(stretch.start), int(stretch.stop)
        if start < self._start:
            raise ValueError(f"sample {start} is forgotten: the window begins at {self._start}")
        more = []
        reached = self._start + len(self._held)
        while reached < end and (block := next(self._blocks, None)) is not None:
            more.append(block)
            reached += len(block)
        if more:
            self._held = torch.cat([self._held, *more])
        return self._held[start - self._start : end - self._start].clone()

    def forget(self, before: int) -> None:
        """Give up what lies before a sample."""
        dropped = min(max(before - self._start, 0), len(self._held))
        if dropped:
            self._held = self._held[dropped:].clone()
            self._start += dropped


def _peak(waveform: Tensor) -> float:
    return float(waveform.abs().max()) if len(waveform) else 0.0
