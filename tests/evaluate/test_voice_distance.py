"""Pitch and formants of vowels that are made of pulses and resonances, so that both are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from amalia_mm.evaluate.voice_distance import Throat, distance, throat

A = (700.0, 1200.0, 2500.0)
I = (300.0, 2200.0, 2900.0)  # noqa: E741


def vowel(pitch_hz, formants_hz, seconds=0.8, rate_hz=16_000, width_hz=80.0):
    """Pulses through resonances of a width, one after the other (Klatt 1980)."""
    sound = np.zeros(round(seconds * rate_hz))
    sound[(np.arange(0, seconds, 1 / pitch_hz) * rate_hz).astype(int)] = 1.0
    sound = lfilter([1.0], [1.0, -0.95], sound)  # the glottis: 6 dB less an octave up
    for formant_hz in (*formants_hz, 3500.0, 4500.0):
        radius = math.exp(-math.pi * width_hz / rate_hz)
        angle = 2 * math.pi * formant_hz / rate_hz
        sound = lfilter([1.0], [1.0, -2 * radius * math.cos(angle), radius**2], sound)
    return torch.from_numpy(0.5 * sound / np.abs(sound).max()).float()


@pytest.mark.parametrize("formants_hz", [A, I])
@pytest.mark.parametrize("pitch_hz", [100.0, 160.0])
def test_pitch_and_formants_are_found(pitch_hz, formants_hz):
    found = throat(vowel(pitch_hz, formants_hz))
    assert found.pitch_hz == pytest.approx(pitch_hz, rel=0.02)
    # The lowest leans towards the nearest harmonic: 320 Hz of a voice of 160 for a formant of 300.
    assert found.formants_hz == pytest.approx(formants_hz, rel=0.1)
    assert found.pitch_range_semitones < 0.5


@pytest.mark.parametrize("width_hz", [300.0, 500.0])
def test_wide_formants_are_not_passed_over(width_hz):
    """As those of speech that a small model makes: the third was taken for the second."""
    narrow, wide = throat(vowel(120.0, A)), throat(vowel(120.0, A, width_hz=width_hz))
    assert distance(narrow, wide).formants_percent < 10


def test_distances_by_hand():
    one = Throat(100.0, 1.0, (500.0, 1000.0, 2000.0))
    other = Throat(200.0, 1.0, (550.0, 1100.0, 2200.0))
    assert distance(one, other).pitch_semitones == pytest.approx(12.0)
    assert distance(one, other).formants_percent == pytest.approx(10.0)
    assert distance(other, one).formants_percent == pytest.approx(10.0)
    assert distance(one, one).formants_percent == 0.0


def test_what_nobody_says_has_no_throat():
    for sound in (torch.zeros(16_000), 0.1 * torch.randn(16_000)):
        with pytest.raises(ValueError, match="voiced frames"):
            throat(sound)
