"""Music in which nobody sings: chords and a tune of plucked and held tones, to learn that it is no speech."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from amalia_mm.audio.chance import between, choice
from amalia_mm.audio.noise import rms
from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))
"""Semitones above the key: major, minor."""
_KEY_HZ = (55.0, 220.0)
_BEATS_A_MINUTE = (60.0, 160.0)
_ATTACK_S = 0.01
_NUM_PARTIALS = 8
_LEVEL_DB = (-40.0, -12.0)


def music_clip(seconds: float, generator: Generator) -> Tensor:
    """Return a clip (n) float32 at 16 kHz of chords under a tune, in a random key, tempo, timbre and level.

    Args:
        seconds: How long it is.
        generator: Every draw comes from it, so the clip depends on its seed alone.
    """
    num_samples = seconds_to_samples(seconds)
    clip = torch.zeros(num_samples)
    scale = _SCALES[choice(len(_SCALES), generator)]
    key_hz = between(_KEY_HZ, generator)
    beat_samples = round(SAMPLE_RATE_HZ * 60 / between(_BEATS_A_MINUTE, generator))
    brightness, decay_s = between((0.4, 2.0), generator), between((0.15, 2.0), generator)
    for start in range(0, num_samples, beat_samples):
        is_chord = start % (4 * beat_samples) == 0
        degree = choice(len(scale), generator)
        steps = [degree, degree + 2, degree + 4] if is_chord else [degree + len(scale)]
        length = min(4 * beat_samples if is_chord else beat_samples, num_samples - start)
        for step in steps:
            octave, place = divmod(step, len(scale))
            pitch_hz = key_hz * 2 ** (octave + scale[place] / 12)
            clip[start : start + length] += _tone(pitch_hz, length, brightness, decay_s)
    level = 10.0 ** (between(_LEVEL_DB, generator) / 20.0)
    return clip * torch.minimum(level / rms(clip).clamp(min=1e-6), 0.98 / clip.abs().max().clamp(min=1e-6))


def _tone(pitch_hz: float, num_samples: int, brightness: float, decay_s: float) -> Tensor:
    """Return a plucked tone (n): partials below half the sample rate, weaker the higher they are."""
    time_s = torch.arange(num_samples, dtype=torch.float64) / SAMPLE_RATE_HZ
    envelope = (time_s / _ATTACK_S).clamp(max=1.0) * torch.exp(-time_s / decay_s)
    partials = [
        torch.sin(2 * math.pi * pitch_hz * number * time_s) / number**brightness
        for number in range(1, _NUM_PARTIALS + 1)
        if pitch_hz * number < SAMPLE_RATE_HZ / 2
    ]
    return (torch.stack(partials).sum(0) * envelope).float()
