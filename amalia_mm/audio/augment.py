"""Noise, level and telephone band for training clips, and clips without speech.

Every draw comes from the generator that is passed in, so a clip depends on its seed alone. Lengths never
change: speed and pitch belong to whoever makes the speech.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples

NoiseColour = Literal["white", "pink", "brown"]
NoSpeech = Literal["silence", "white", "pink", "brown", "hum", "clicks"]
NO_SPEECH: tuple[NoSpeech, ...] = get_args(NoSpeech)
"""The kinds of clips without speech."""

_COLOURS: tuple[NoiseColour, ...] = get_args(NoiseColour)
_LOWEST_RMS = 1e-3  # -60 dB; noise below it would vanish in the 16 bits of most recordings
_CUT_HZ = 20.0
_FFT_SAMPLES = 4096


@dataclass(frozen=True)
class Augment:
    """A training clip as another room, microphone or line might have given it.

    Args:
        noise_probability: How often noise is added, white, pink or brown in equal shares.
        noise_snr_db: The range of signal-to-noise ratios, lowest and highest.
        gain_probability: How often the level is changed.
        gain_db: The range of gains, lowest and highest; peaks may go beyond 1 and are not cut.
        telephone_probability: How often only the band of the telephone is left.
        telephone_hz: That band, lowest and highest.

    Raises:
        ValueError: A probability is outside 0 to 1, or a range upside down.
    """

    noise_probability: float = 0.5
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
    gain_probability: float = 0.5
    gain_db: tuple[float, float] = (-12.0, 3.0)
    telephone_probability: float = 0.0
    telephone_hz: tuple[float, float] = (300.0, 3400.0)

    def __post_init__(self) -> None:
        for name in ("noise_probability", "gain_probability", "telephone_probability"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} is not between 0 and 1")
        for name in ("noise_snr_db", "gain_db", "telephone_hz"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} goes from {low} down to {high}")

    def __call__(self, waveform: Tensor, generator: Generator) -> Tensor:
        """Return the clip (n) float32 as heard elsewhere; the one passed in is left as it is."""
        if _happens(self.noise_probability, generator):
            waveform = add_noise(
                waveform, _colour(generator), _between(self.noise_snr_db, generator), generator
            )
        if _happens(self.telephone_probability, generator):
            waveform = _band(waveform, *self.telephone_hz)
        if _happens(self.gain_probability, generator):
            waveform = waveform * 10.0 ** (_between(self.gain_db, generator) / 20.0)
        return waveform


def add_noise(waveform: Tensor, colour: NoiseColour, snr_db: float, generator: Generator) -> Tensor:
    """Return the clip (n) with noise at a signal-to-noise ratio over the whole clip.

    A clip quieter than -60 dB counts as that loud, so that silence gets a little noise.
    """
    noise = coloured_noise(colour, len(waveform), generator)
    rms = _rms(waveform).clamp(min=_LOWEST_RMS)
    return waveform + noise * (rms * 10.0 ** (-snr_db / 20.0))


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
    return noise / _rms(noise).clamp(min=1e-12)


def no_speech_clip(kind: NoSpeech, seconds: float, generator: Generator) -> Tensor:
    """Return a clip (n) float32 at 16 kHz in which nobody speaks, at a random level of -60 to -20 dB.

    `hum` is the mains (50 Hz and its harmonics), `clicks` a few short knocks; `silence` is all zeros.

    Raises:
        ValueError: The kind is not one of `NO_SPEECH`.
    """
    num_samples = seconds_to_samples(seconds)
    makers: dict[NoSpeech, Callable[[], Tensor]] = {
        "silence": lambda: torch.zeros(num_samples),
        "hum": lambda: _hum(num_samples, generator),
        "clicks": lambda: _clicks(num_samples, generator),
        "white": lambda: coloured_noise("white", num_samples, generator),
        "pink": lambda: coloured_noise("pink", num_samples, generator),
        "brown": lambda: coloured_noise("brown", num_samples, generator),
    }
    if kind not in makers:
        raise ValueError(f"no clip without speech is called {kind!r}: one of {', '.join(NO_SPEECH)}")
    level_db = _between((-60.0, -20.0), generator)
    return makers[kind]() * 10.0 ** (level_db / 20.0)


def _hum(num_samples: int, generator: Generator) -> Tensor:
    time_s = torch.arange(num_samples, dtype=torch.float64) / SAMPLE_RATE_HZ
    hum = torch.zeros(num_samples, dtype=torch.float64)
    for harmonic in range(1, 7):
        strength, phase = torch.rand(2, generator=generator, dtype=torch.float64)
        hum += strength / harmonic * torch.sin(2 * math.pi * (50.0 * harmonic * time_s + phase))
    return (hum / _rms(hum).clamp(min=1e-12)).float()


def _clicks(num_samples: int, generator: Generator) -> Tensor:
    """Return decaying knocks of noise, one to five a second, over a floor of noise 40 dB below."""
    clip = 0.01 * torch.randn(num_samples, generator=generator)
    length = min(SAMPLE_RATE_HZ // 100, num_samples)
    decay = torch.exp(-torch.arange(length) / (length / 5.0)) if length else torch.zeros(0)
    num_clicks = 1 + int(_between((1.0, 5.0), generator) * num_samples / SAMPLE_RATE_HZ)
    for start in torch.randint(
        0, max(num_samples - length, 0) + 1, (num_clicks,), generator=generator
    ).tolist():
        clip[start : start + length] += decay * torch.randn(length, generator=generator)
    return clip


def _band(waveform: Tensor, lowest_hz: float, highest_hz: float) -> Tensor:
    spectrum = torch.fft.rfft(waveform)
    frequencies_hz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, len(spectrum))
    inside = (frequencies_hz >= lowest_hz) & (frequencies_hz <= highest_hz)
    return torch.fft.irfft(spectrum * inside, n=len(waveform))


def _happens(probability: float, generator: Generator) -> bool:
    return float(torch.rand((), generator=generator)) < probability


def _between(limits: tuple[float, float], generator: Generator) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))


def _colour(generator: Generator) -> NoiseColour:
    return _COLOURS[int(torch.randint(len(_COLOURS), (), generator=generator))]


def _rms(waveform: Tensor) -> Tensor:
    return waveform.square().mean().sqrt()
