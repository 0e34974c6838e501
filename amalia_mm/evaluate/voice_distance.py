"""How far two voices are apart in what a throat is: pitch, in semitones, and formants, in percent.

Beside the similarity of embeddings, which nobody can check by ear. Pitch by pYIN, formants by linear prediction over
the voiced frames; medians, so that a few wrong frames do not matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr
from torch import Tensor

from amalia_mm.units import SAMPLE_RATE_HZ

_PITCH_HZ = (50.0, 600.0)
_FORMANT_RATE_HZ = 10_000
"""Four or five formants lie below its half."""
_ORDER = 10
"""Two for each formant: with more, the widest of them are resonances that are none."""
_WINDOW_SAMPLES, _HOP_SAMPLES = 300, 100
_PITCH_HOP_SAMPLES = SAMPLE_RATE_HZ // 100
_PRE_EMPHASIS = 0.97
_BANDWIDTH_HZ = 700.0
"""Wider resonances shape the whole spectrum and are no formants. Made speech has wide formants: with less, its second
is passed over, and its third taken for it."""
_LOWEST_FORMANT_HZ = 150.0
_NUM_FORMANTS = 3
_FEWEST_FRAMES = 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Throat:
    """What is measured of a voice."""

    pitch_hz: float
    """The median over voiced frames."""
    pitch_range_semitones: float
    """Between the tenth and the ninetieth hundredth."""
    formants_hz: tuple[float, ...]
    """The medians of the first three."""


@dataclass(frozen=True)
class Distance:
    """How far one voice is from another."""

    pitch_semitones: float
    formants_percent: float
    """The mean of the first three."""


def throat(waveform: Tensor) -> Throat:
    """Return the pitch and formants of a clip (n) float32 at 16 kHz.

    Raises:
        ValueError: Too little of it is voiced to say.
    """
    import librosa  # compiles as it loads

    samples = waveform.numpy().astype(np.float64)
    pitch, is_voiced, _ = librosa.pyin(
        samples,
        fmin=_PITCH_HZ[0],
        fmax=_PITCH_HZ[1],
        sr=SAMPLE_RATE_HZ,
        frame_length=1024,
        hop_length=_PITCH_HOP_SAMPLES,
    )
    voiced = pitch[is_voiced & np.isfinite(pitch)]
    formants = _formants(samples, is_voiced)
    if len(voiced) < _FEWEST_FRAMES or len(formants) < _FEWEST_FRAMES:
        raise ValueError(
            f"{len(voiced)} voiced frames of 10 ms in {len(samples) / SAMPLE_RATE_HZ:.2f} s of sound: "
            f"at least {_FEWEST_FRAMES} are needed"
        )
    low, middle, high = np.percentile(voiced, [10, 50, 90])
    return Throat(float(middle), 12 * math.log2(high / low), tuple(np.median(formants, axis=0).tolist()))


def distance(one: Throat, other: Throat) -> Distance:
    """Return how far two voices are apart."""
    ratios = [abs(math.log(a / b)) for a, b in zip(one.formants_hz, other.formants_hz, strict=True)]
    pitch = abs(12 * math.log2(one.pitch_hz / other.pitch_hz))
    return Distance(pitch, 100 * math.expm1(sum(ratios) / len(ratios)))


def _formants(samples: Floats, is_voiced: npt.NDArray[np.bool_]) -> Floats:
    """Return (r 3) the first three formants of the voiced frames in which three are found."""
    from librosa import lpc

    at_rate = soxr.resample(samples, SAMPLE_RATE_HZ, _FORMANT_RATE_HZ)
    emphasised = np.append(at_rate[:1], at_rate[1:] - _PRE_EMPHASIS * at_rate[:-1])
    window, found = np.hamming(_WINDOW_SAMPLES), []
    for start in range(0, len(emphasised) - _WINDOW_SAMPLES, _HOP_SAMPLES):
        middle_s = (start + _WINDOW_SAMPLES / 2) / _FORMANT_RATE_HZ
        place = round(middle_s * SAMPLE_RATE_HZ / _PITCH_HOP_SAMPLES)
        frame = emphasised[start : start + _WINDOW_SAMPLES] * window
        if place >= len(is_voiced) or not is_voiced[place] or not np.abs(frame).max() > 0:
            continue
        resonances = _resonances(lpc(frame, order=_ORDER))
        if len(resonances) >= _NUM_FORMANTS:
            found.append(resonances[:_NUM_FORMANTS])
    return np.array(found).reshape(-1, _NUM_FORMANTS)


def _resonances(coefficients: Floats) -> list[float]:
    """Return the narrow resonances of a linear predictor in Hz, the lowest first."""
    roots = np.roots(coefficients)
    roots = roots[roots.imag > 0]
    at_hz = np.angle(roots) * _FORMANT_RATE_HZ / (2 * np.pi)
    width_hz = -np.log(np.abs(roots)) * _FORMANT_RATE_HZ / np.pi
    return sorted(at_hz[(width_hz < _BANDWIDTH_HZ) & (at_hz > _LOWEST_FORMANT_HZ)].tolist())
