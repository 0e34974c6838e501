"""Clips that sound as if their header lied about the sample rate: too fast and too high, or too slow and too low.

A header that is wrong everywhere agrees with itself, so only the rest of the corpus tells. A ratio as small as that of
44,100 and 48,000 is no larger than speakers differ: of it nothing but promised lengths can tell (`plausible.py`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from amalia_mm.prepare.readers.row import Fault
from amalia_mm.units import SAMPLE_RATE_HZ

_STEPS = 4
"""Bands of an octave."""
_BANDS_HZ = 90.0 * 2.0 ** (np.arange(26) / _STEPS)
"""Their middles: from the lowest voices to the highest hiss at 16 kHz."""
_WINDOW_SAMPLES = 2048
_DEPTH_DB = 50.0
"""What lies further below the loudest band counts as that: rooms and codecs, not voices."""
_MOST_SHIFT = 6
_LEAST_OCTAVES = 0.75
"""Voices of men, women and children lie within half an octave of the middle of them all; half speed is a whole one."""
_LEAST_PACE = 1.6
"""Readers differ by a fifth."""
_SLOWEST, _FASTEST = 7.5, 24.0
"""Letters and digits a second of a whole corpus, beyond which it is not read by people."""
_FEWEST_CHARS = 20
"""Of fewer letters and digits the pace says little."""
_FEWEST = 4
"""Speakers, or other clips of one speaker, that a middle is taken of."""

_Key = TypeVar("_Key", str, int)
Bands = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Sound:
    """What a clip sounds like."""

    speaker: str
    """"" where nobody knows: the clip is then compared for itself."""
    num_chars: int
    """Letters and digits that are said in it."""
    seconds: float
    bands: Sequence[float]
    """What `bands_of` gave."""


def bands_of(waveform: Tensor) -> list[int]:
    """Return the mean power of a clip (n) in quarters of octaves, in whole decibels below its loudest band."""
    padded = torch.nn.functional.pad(waveform, (0, max(0, _WINDOW_SAMPLES - len(waveform))))
    window = torch.hann_window(_WINDOW_SAMPLES)
    spectrum = torch.stft(padded, _WINDOW_SAMPLES, window=window, center=False, return_complex=True)
    power = spectrum.abs().square().mean(dim=1).double().numpy()
    hz = np.arange(len(power)) * SAMPLE_RATE_HZ / _WINDOW_SAMPLES
    half = 2.0 ** (0.5 / _STEPS)
    inside = [(hz >= middle / half) & (hz < middle * half) for middle in _BANDS_HZ]
    levels = 10 * np.log10(np.array([power[each].mean() for each in inside]) + 1e-20)
    return np.maximum(levels - levels.max(), -_DEPTH_DB).round().astype(int).tolist()


def odd_rates(sounds: Sequence[Sound]) -> dict[int, Fault]:
    """Return what is wrong with the clips, by their numbers, that sound as if recorded at another sample rate.

    A speaker is compared with the middle of all speakers, then each clip with the others of its speaker. What is only
    fast, or only high, is a way to speak.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for number, sound in enumerate(sounds):
        groups[sound.speaker or f"\0{number}"].append(number)
    together = {key: _together([sounds[number] for number in numbers]) for key, numbers in groups.items()}
    found: dict[int, Fault] = {}
    for key, fault in _odd(together).items():
        found.update(dict.fromkeys(groups[key], fault))
    for numbers in groups.values():
        if len(numbers) > _FEWEST and numbers[0] not in found:
            found |= _odd({number: sounds[number] for number in numbers})
    return found


def _together(sounds: Sequence[Sound]) -> Sound:
    mean = np.mean([sound.bands for sound in sounds], axis=0)
    num_chars = sum(sound.num_chars for sound in sounds)
    return Sound(sounds[0].speaker, num_chars, sum(sound.seconds for sound in sounds), mean.tolist())


def _odd(sounds: dict[_Key, Sound]) -> dict[_Key, Fault]:
    """Return those that are unlike the middle of all in pace and pitch."""
    judged = {key: sound for key, sound in sounds.items() if sound.num_chars >= _FEWEST_CHARS}
    if len(judged) < _FEWEST:
        return {}
    usual = float(np.median([sound.num_chars / sound.seconds for sound in judged.values()]))
    middle = np.median([_level(sound.bands) for sound in judged.values()], axis=0)
    found: dict[_Key, Fault] = {}
    for key, sound in judged.items():
        rate = sound.num_chars / sound.seconds
        octaves = _shift(_level(sound.bands), middle) / _STEPS
        pace = math.log2(rate / usual)
        if abs(pace) >= math.log2(_LEAST_PACE) and octaves * math.copysign(1, pace) >= _LEAST_OCTAVES:
            times = 2.0 ** abs(pace)
            ratio = f"{times:.1f} times the sample rate" if pace < 0 else f"1/{times:.1f} of the sample rate"
            value = (
                f"{rate:.1f} characters a second, {abs(octaves):g} octaves {'above' if octaves > 0 else 'below'} the "
                f"others: as if recorded at about {ratio} of its header"
            )
            found[key] = Fault("sample_rate", value, f"about {usual:.1f} characters a second, as the others")
    return found


def _level(bands: Sequence[float]) -> Bands:
    own = np.asarray(bands, dtype=np.float64)
    return own - own.mean()


def _shift(own: Bands, middle: Bands) -> int:
    """Return by how many bands the one spectrum lies higher: where the two differ least."""
    differences: dict[int, float] = {}
    for shift in range(-_MOST_SHIFT, _MOST_SHIFT + 1):
        here = own[max(0, shift) : len(own) + min(0, shift)]
        there = middle[max(0, -shift) : len(middle) - max(0, shift)]
        differences[shift] = float(np.var(here - there))
    return min(differences, key=lambda shift: (differences[shift], abs(shift)))


def pace_of_all(sounds: Sequence[Sound]) -> str | None:
    """Return what to look at where most clips of a corpus are too fast or slow for speech; None where they are not."""
    rates = [sound.num_chars / sound.seconds for sound in sounds if sound.num_chars >= _FEWEST_CHARS]
    if len(rates) < _FEWEST or _SLOWEST <= float(np.median(rates)) <= _FASTEST:
        return None
    middle = float(np.median(rates))
    return f"half of the clips have over {middle:.1f} characters a second, speech 10 to 20: is their sample rate right"
