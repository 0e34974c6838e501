"""A recording as if by a larger or smaller speaker, faster or slower: more voices out of few.

It knows clips; it does not know where they are kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import soxr
import torch
from torch import Tensor

from amalia_mm.audio.io import encode_flac, load_audio
from amalia_mm.prepare.own_speech import OwnClip
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds

_WINDOW_S = 0.032
"""Of the phase vocoder: 512 samples at 16 kHz."""


@dataclass(frozen=True)
class Respeaking:
    """How far the copies of a recording go from it.

    Args:
        tract_scale: The range of factors on formants and pitch: 0.85 makes a man's voice of many a woman's.
        tempo: The range of factors on the pace, which does not follow from the other one.
    """

    tract_scale: tuple[float, float] = (0.8, 1.15)
    tempo: tuple[float, float] = (0.85, 1.2)

    def __post_init__(self) -> None:
        for name in ("tract_scale", "tempo"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} goes from {low} to {high}: it must be above 0, and not upside down")

    def copy(
        self, waveform: Tensor, seed: int, identity: str, number: int, rate_hz: int = SAMPLE_RATE_HZ
    ) -> Tensor:
        """Return copy `number` of a recording (n): the same for the same seed and identity."""
        rng = random.Random(f"{seed} {identity} copy {number}")
        return respoken(waveform, rng.uniform(*self.tract_scale), rng.uniform(*self.tempo), rate_hz)


def copies_of(clip: OwnClip, num: int, seed: int = 0, change: Respeaking = Respeaking()) -> Iterator[OwnClip]:
    """Yield changed copies of a recording, each with an id of its own."""
    waveform = load_audio(clip.flac, sample_rate_hz=clip.rate_hz) if num else torch.empty(0)
    for number in range(1, num + 1):
        copy = change.copy(waveform, seed, clip.record.id, number, clip.rate_hz)
        record = replace(
            clip.record,
            id=f"{clip.record.id}~{number}",
            seconds=round(samples_to_seconds(len(copy), clip.rate_hz), 3),
        )
        yield OwnClip(record, encode_flac(copy, clip.rate_hz), clip.rate_hz)


def respoken(waveform: Tensor, tract_scale: float, tempo: float, rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """Return the clip (n / tempo) float32 with formants and pitch `tract_scale` times as high.

    It is resampled, which moves pitch, formants and pace together (vocal tract length perturbation: Jaitly and Hinton
    2013), then a phase vocoder brings the pace to what is asked for (Laroche and Dolson 1999).
    """
    # Imported here: librosa compiles as it loads, which only this needs.
    from librosa.effects import time_stretch

    scaled = soxr.resample(waveform.numpy(), rate_hz * tract_scale, rate_hz)
    num_fft = 4 * round(_WINDOW_S * rate_hz / 4)
    return torch.from_numpy(time_stretch(scaled, rate=tempo / tract_scale, n_fft=num_fft))
