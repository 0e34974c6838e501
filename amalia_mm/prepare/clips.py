"""Synthetic clips: the sound of a line as a flac file.

It knows prosody, noise and silence; it does not know which sentences are chosen or where clips are kept.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.io import encode_flac
from amalia_mm.audio.no_speech import NoSpeech, no_speech_clip
from amalia_mm.errors import InputError
from amalia_mm.prepare.espeak import SpeakerPool, Utterance
from amalia_mm.prepare.lines import Line
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds, seconds_to_samples

_SILENCE_S = (0.05, 0.3)
_LEVEL_DB = (-32.0, -16.0)
_PEAK = 0.98
_NO_SPEECH_S = (0.5, 4.0)


@dataclass(frozen=True)
class Prosody:
    """How far the ways of speaking lie apart, from each to each; voices have pitch and pace 50 and 160 of their own."""

    rate_wpm: tuple[int, int] = (140, 200)
    pitch: tuple[int, int] = (35, 65)
    tract_scale: tuple[float, float] = (0.86, 1.16)
    """From a child's or small woman's to a large man's vocal tract, around that of the voice itself."""


@dataclass(frozen=True)
class Clip:
    """A line as heard."""

    line: Line
    flac: bytes
    num_samples: int
    rate_hz: int = SAMPLE_RATE_HZ

    @property
    def seconds(self) -> float:
        """How long it is."""
        return samples_to_seconds(self.num_samples, self.rate_hz)


def speak_lines(
    lines: Sequence[Line],
    pool: SpeakerPool,
    seed: int,
    prosody: Prosody = Prosody(),
    recorded: Callable[[Tensor, Generator], Tensor] | None = None,
    rate_hz: int = SAMPLE_RATE_HZ,
) -> Iterator[Clip | InputError]:
    """Yield the clip of each line, in order, or the error where it cannot be said.

    Rate, pitch, size, silence, level and noise are drawn from the seed and the line's id alone, so a clip is
    the same in whatever order and by however many processes it is made. Only training clips change in size:
    held-out voices are heard as they are. `recorded` makes a clip of what is said, `dress` where it is None,
    which knows 16 kHz only.
    """
    finished = dress if recorded is None else recorded

    def finish(number: int, waveform: Tensor) -> Clip:
        clip = finished(waveform, _generator(seed, lines[number].id))
        return Clip(lines[number], encode_flac(clip, rate_hz), len(clip), rate_hz)

    return pool.speak((replace(_utterance(line, seed, prosody), rate_hz=rate_hz) for line in lines), finish)


def dress(waveform: Tensor, generator: Generator) -> Tensor:
    """Return a sentence (n) as a recording might have it: pauses around it, some level, a little noise."""
    rms = waveform.square().mean().sqrt().clamp(min=1e-6)
    gain = 10.0 ** (_between(_LEVEL_DB, generator) / 20.0) / rms
    before, after = (seconds_to_samples(_between(_SILENCE_S, generator)) for _ in range(2))
    clip = pad(waveform * torch.minimum(gain, _PEAK / waveform.abs().max().clamp(min=1e-6)), (before, after))
    return Augment(noise_probability=0.85, noise_snr_db=(15.0, 40.0), gain_probability=0.0)(clip, generator)


def no_speech(line: Line, seed: int) -> Clip:
    """Return the clip of a line that nobody speaks; its kind of sound is its template."""
    generator = _generator(seed, line.id)
    waveform = no_speech_clip(cast(NoSpeech, line.template), _between(_NO_SPEECH_S, generator), generator)
    return Clip(line, encode_flac(waveform), len(waveform))


def _utterance(line: Line, seed: int, prosody: Prosody) -> Utterance:
    if line.voice is None:
        raise ValueError(f"line {line.id} has no voice")
    rng = random.Random(f"{seed} {line.id} prosody")
    return Utterance(
        line.text,
        line.voice,
        rate_wpm=rng.randint(*prosody.rate_wpm),
        pitch=rng.randint(*prosody.pitch),
        tract_scale=rng.uniform(*prosody.tract_scale) if line.split == "train" else 1.0,
    )


def _generator(seed: int, identity: str) -> Generator:
    digest = hashlib.sha256(f"{seed} {identity}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _between(limits: tuple[float, float], generator: Generator) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))
