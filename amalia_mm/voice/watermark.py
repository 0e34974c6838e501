"""An inaudible mark in synthesised speech, and its detector: a spread-spectrum pattern of loudness.

Every cell of a grid of time and frequency is made a little louder or softer, by a pattern that repeats. No cell tells
anything; thousands of them together do, also where most were lost to a codec, to noise or to a cut. The pattern stands in
the program: whoever has it can find the mark, and whoever works at it can remove it, which is why a file carries a signed
manifest as well (`provenance.py`). Patchwork and its descendants: Bender et al., "Techniques for data hiding", 1996;
Kirovski and Malvar, "Spread-spectrum watermarking of audio signals", 2003.

Plain numpy: a mark costs a hundredth of the speech it goes into, and streams with it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import uniform_filter

from amalia_mm.units import SAMPLE_RATE_HZ, exact_div

_SEED = b"amalia_mm watermark 1"
_FRAMES_PER_S = 125
_HOPS_PER_WINDOW = (
    4  # a window of 32 ms, in which speech stands still; bins 31.25 Hz apart at every sample rate
)
_BIN_HZ = _FRAMES_PER_S / _HOPS_PER_WINDOW
_LOWEST_BIN, _HIGHEST_BIN = round(300 / _BIN_HZ), round(5_500 / _BIN_HZ)
_CELL_FRAMES = 4
_CELLS = 48
_PERIOD_FRAMES = _CELLS * _CELL_FRAMES  # 1.536 s: three seconds hold it nearly twice, wherever they are cut
DEPTH_DB = 1.0
"""How much louder or softer a cell becomes: what a careful ear just hears in a steady tone (Moore, 2012, chapter 4)."""
_NEIGHBOURS = (9, 9)
_CLIP_DB = 12.0
_FLOOR = 1e-5
_WINDOW_S = 12
_FALSE_ALARMS = 1e-4


@dataclass(frozen=True)
class Detection:
    """Whether a recording carries the mark.

    Args:
        score: How far the best alignment of the pattern stands out from all others, in standard deviations.
        wanted: What chance reaches once in ten thousand recordings of this length.
    """

    score: float
    wanted: float

    @property
    def is_marked(self) -> bool:
        """Whether the mark was found."""
        return self.score >= self.wanted


class Marker:
    """Marks speech as it comes; all pieces together are what the whole would be.

    Args:
        sample_rate_hz: Of the speech; a multiple of 125.

    Raises:
        ValueError: Another sample rate.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._hop = exact_div(sample_rate_hz, _FRAMES_PER_S)
        length = self._hop * _HOPS_PER_WINDOW
        # Applied twice, before and after: four overlapping squares of it are 2 everywhere.
        self._window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)
        self._overlap = length - self._hop
        self._waiting = np.zeros(self._overlap, np.float32)
        self._begun = np.zeros(self._overlap, np.float32)
        self._to_drop = self._overlap
        self._frame = 0
        self._owed = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Return what is finished of the speech so far (n), at most 24 ms later than it came."""
        self._owed += len(samples)
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32)])
        num_frames = (len(self._waiting) - self._overlap) // self._hop
        if num_frames <= 0:
            return np.zeros(0, np.float32)
        length = len(self._window)
        frames = sliding_window_view(self._waiting, length)[:: self._hop][:num_frames] * self._window
        spectra = np.fft.rfft(frames, axis=1)
        top = min(_HIGHEST_BIN, spectra.shape[1])
        gains = 10.0 ** (
            DEPTH_DB / 20.0 * _pattern()[:, (self._frame + np.arange(num_frames)) % _PERIOD_FRAMES]
        )
        spectra[:, _LOWEST_BIN:top] *= gains[: top - _LOWEST_BIN].T
        marked = np.fft.irfft(spectra, length, axis=1).astype(np.float32) * self._window / 2
        done = np.zeros(num_frames * self._hop + self._overlap, np.float32)
        done[: self._overlap] = self._begun
        for number, frame in enumerate(marked):
            done[number * self._hop : number * self._hop + length] += frame
        self._frame += num_frames
        self._waiting = self._waiting[num_frames * self._hop :]
        self._begun = done[num_frames * self._hop :]
        return self._given(done[: num_frames * self._hop])

    def flush(self) -> np.ndarray:
        """Return the rest (n): as many samples have come out as went in."""
        owed = self._owed
        rest = self.push(np.zeros(self._overlap + self._hop, np.float32))[:owed]
        self._owed = 0
        return rest

    def _given(self, done: np.ndarray) -> np.ndarray:
        dropped = min(self._to_drop, len(done))
        self._to_drop -= dropped
        self._owed -= len(done) - dropped
        return done[dropped:]


def mark(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return a waveform (n) with the mark in it, as long as before; errors as `Marker`."""
    marker = Marker(sample_rate_hz)
    return np.concatenate([marker.push(waveform), marker.flush()])


def detect(waveform: np.ndarray) -> Detection:
    """Return whether a waveform (n) at 16 kHz carries the mark.

    Recordings over 12 s are searched stretch by stretch, since the mark may be in a part alone; the more stretches, the
    more it has to stand out.
    """
    scores = [_score(stretch) for stretch in _stretches(waveform)]
    chances = len(scores) * _PERIOD_FRAMES
    return Detection(max(scores), NormalDist().inv_cdf(1.0 - _FALSE_ALARMS / chances))


def _stretches(waveform: np.ndarray) -> Iterator[np.ndarray]:
    length = _WINDOW_S * SAMPLE_RATE_HZ
    for start in range(0, max(len(waveform) - length // 2, 1), length // 2):
        yield waveform[start : start + length]


def _score(waveform: np.ndarray) -> float:
    """Return how far the best alignment of the pattern stands out from the others, in standard deviations."""
    hop = exact_div(SAMPLE_RATE_HZ, _FRAMES_PER_S)
    length = hop * _HOPS_PER_WINDOW
    padded = np.pad(waveform, (0, max(length - len(waveform), 0)))
    frames = sliding_window_view(padded, length)[::hop] * np.hanning(length + 1)[:-1].astype(np.float32)
    magnitudes = np.abs(np.fft.rfft(frames, axis=1))[:, _LOWEST_BIN:_HIGHEST_BIN].T
    loudness_db = 20.0 * np.log10(magnitudes + _FLOOR)
    # What speech does is slower and wider than a cell; what is left of it is as often too loud as too soft.
    odd = np.clip(loudness_db - uniform_filter(loudness_db, _NEIGHBOURS), -_CLIP_DB, _CLIP_DB)
    folded = np.zeros((len(odd), math.ceil(odd.shape[1] / _PERIOD_FRAMES) * _PERIOD_FRAMES))
    folded[:, : odd.shape[1]] = odd
    folded = folded.reshape(len(odd), -1, _PERIOD_FRAMES).sum(1)
    likeness = np.fft.irfft((np.fft.rfft(folded) * np.fft.rfft(_pattern()).conj()).sum(0), _PERIOD_FRAMES)
    middle = np.median(likeness)
    spread = np.median(np.abs(likeness - middle)) / NormalDist().inv_cdf(0.75)
    return float((likeness.max() - middle) / spread) if spread > 0 else 0.0


@cache
def _pattern() -> np.ndarray:
    """Return louder (1) or softer (-1) for every bin and frame of the period (b f), from SHAKE-256."""
    num_bins = _HIGHEST_BIN - _LOWEST_BIN
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(_SEED).digest(num_bins * _CELLS // 8 + 1), np.uint8))
    cells = bits[: num_bins * _CELLS].reshape(num_bins, _CELLS).astype(np.float32) * 2 - 1
    return np.repeat(cells, _CELL_FRAMES, axis=1)
