"""Noise under a clip, made or recorded, at a signal-to-noise ratio.

Every draw comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from amalia_mm.audio.chance import between, check_probability, check_range, choice, happens
from amalia_mm.audio.sounds import Sounds
from amalia_mm.units import SAMPLE_RATE_HZ

NoiseColour = Literal["white", "pink", "brown"]

_COLOURS: tuple[NoiseColour, ...] = get_args(NoiseColour)
_LOWEST_RMS = 1e-3  # -60 dB; noise below it would vanish in the 16 bits of most recordings
_CUT_HZ = 20.0
_FFT_SAMPLES = 4096


@dataclass(frozen=True)
class RecordedNoise:
    """Noise that somebody recorded: a street, a kitchen, a ventilator.

    Args:
        paths: Files of audio, folders of them, and folders of tar shards.
        probability: How often a clip gets some.
        snr_db: The range of signal-to-noise ratios, lowest and highest.

    Raises:
        ValueError: The probability is outside 0 to 1, or the range upside down.
    """

    paths: Sequence[str] = field(default_factory=tuple)
    probability: float = 0.5
    snr_db: tuple[float, float] = (5.0, 25.0)

    def __post_init__(self) -> None:
        check_probability("recorded_noise.probability", self.probability)
        check_range("recorded_noise.snr_db", self.snr_db)

    @property
    def sounds(self) -> Sounds:
        """The recordings."""
        return Sounds(tuple(self.paths))

    def __call__(self, waveform: Tensor, generator: Generator) -> Tensor:
        """Return the clip (n) over a stretch of one of the recordings, which begins anew where it ends too early."""
        if not happens(self.probability, generator):
            return waveform
        number = choice(len(self.sounds), generator)
        start = choice(len(self.sounds.load(number)), generator)
        return self.over(waveform, number, start, between(self.snr_db, generator))

    def over(self, waveform: Tensor, number: int, start: int, snr_db: float) -> Tensor:
        """Return the clip (n) over one of the recordings from a sample on, at a ratio."""
        noise = self.sounds.load(number)
        stretch = noise.roll(-start).repeat(-(-len(waveform) // len(noise)))[: len(waveform)]
        return at_ratio(waveform, stretch, snr_db)


def add_noise(waveform: Tensor, colour: NoiseColour, snr_db: float, generator: Generator) -> Tensor:
    """Return the clip (n) with noise at a signal-to-noise ratio over the whole clip.

    A clip quieter than -60 dB counts as that loud, so that silence gets a little noise.
    """
    noise = coloured_noise(colour, len(waveform), generator)
    level = rms(waveform).clamp(min=_LOWEST_RMS)
    return waveform + noise * (level * 10.0 ** (-snr_db / 20.0))


def at_ratio(waveform: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """Return the clip (n) over a noise (n) of any level at a ratio of the two; silence stays silent as noise."""
    return waveform + noise * (
        rms(waveform).clamp(min=_LOWEST_RMS) / rms(noise).clamp(min=1e-8) * 10.0 ** (-snr_db / 20.0)
    )


def coloured_noise(colour: NoiseColour, num_samples: int, generator: Generator) -> Tensor:
    """Return noise (n) float32 of root mean square 1; power falls by 0, 3 or 6 dB an octave from 20 Hz on."""
    if num_samples == 0:
        return torch.zeros(0)
    # A length with large prime factors costs six times the transform: make a little more and cut it.
    padded = num_samples if colour == "white" else -(-num_samples // _FFT_SAMPLES) * _FFT_SAMPLES
    noise = torch.randn(padded, generator=generator)
    if colour != "white":
        spectrum = torch.fft.rfft(noise)
        frequencies_hz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, len(spectrum)).clamp(min=_CUT_HZ)
        noise = torch.fft.irfft(spectrum * frequencies_hz ** (-0.5 if colour == "pink" else -1.0), n=padded)[
            :num_samples
        ]
    return noise / rms(noise).clamp(min=1e-12)


def some_colour(generator: Generator) -> NoiseColour:
    """Return white, pink or brown, each equally likely."""
    return _COLOURS[choice(len(_COLOURS), generator)]


def rms(waveform: Tensor) -> Tensor:
    """Return the root mean square () of a clip (n)."""
    return waveform.square().mean().sqrt()
