"""Clips in which nobody speaks: silence, noise, the mains, knocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from amalia_mm.audio.chance import between
from amalia_mm.audio.noise import coloured_noise, rms
from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples

NoSpeech = Literal["silence", "white", "pink", "brown", "hum", "clicks"]
NO_SPEECH: tuple[NoSpeech, ...] = get_args(NoSpeech)
"""The kinds of clips without speech."""


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
    level_db = between((-60.0, -20.0), generator)
    return makers[kind]() * 10.0 ** (level_db / 20.0)


def _hum(num_samples: int, generator: Generator) -> Tensor:
    time_s = torch.arange(num_samples, dtype=torch.float64) / SAMPLE_RATE_HZ
    hum = torch.zeros(num_samples, dtype=torch.float64)
    for harmonic in range(1, 7):
        strength, phase = torch.rand(2, generator=generator, dtype=torch.float64)
        hum += strength / harmonic * torch.sin(2 * math.pi * (50.0 * harmonic * time_s + phase))
    return (hum / rms(hum).clamp(min=1e-12)).float()


def _clicks(num_samples: int, generator: Generator) -> Tensor:
    """Return decaying knocks of noise, one to five a second, over a floor of noise 40 dB below."""
    clip = 0.01 * torch.randn(num_samples, generator=generator)
    length = min(SAMPLE_RATE_HZ // 100, num_samples)
    decay = torch.exp(-torch.arange(length) / (length / 5.0)) if length else torch.zeros(0)
    num_clicks = 1 + int(between((1.0, 5.0), generator) * num_samples / SAMPLE_RATE_HZ)
    for start in torch.randint(
        0, max(num_samples - length, 0) + 1, (num_clicks,), generator=generator
    ).tolist():
        clip[start : start + length] += decay * torch.randn(length, generator=generator)
    return clip
