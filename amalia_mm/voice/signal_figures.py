"""What a recording is like before anybody asks what is said: level, clipping, noise, bandwidth, tones.

Plain signal measures, each with its unit in its name. They know no limits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from amalia_mm.audio.vad import Segment
from amalia_mm.units import SAMPLE_RATE_HZ

_FRAME_SAMPLES = 320
_FFT_SAMPLES = 512
_FEWEST_PAUSE_FRAMES = 10
_QUIETEST = 0.05
"""Where nobody pauses, the quietest frames are the closures of stops: as loud as the noise."""
_LEAST_POWER = 1e-10  # -100 dB: below 16 bits
_LEVEL_TOP = 0.999
_FEWEST_FLAT = 3
_TONAL_FLATNESS = 0.1
"""White noise has 0.56, a chord under 0.05."""
_MUSIC_BAND_HZ = (250.0, 4000.0)
"""Above the hum of mains and ventilators."""

Floats = npt.NDArray[np.float64]


def frame_powers(waveform: Tensor) -> Floats:
    """Return (f) the mean power of each 20 ms of a waveform (n); what is left at its end is not heard."""
    num_frames = len(waveform) // _FRAME_SAMPLES
    frames = waveform[: num_frames * _FRAME_SAMPLES].double().view(num_frames, _FRAME_SAMPLES)
    return frames.square().mean(dim=1).numpy()


def level_db(waveform: Tensor) -> float:
    """Return the level of a waveform (n) in dB of full scale, root mean square; -100 of silence."""
    power = float(waveform.double().square().mean()) if len(waveform) else 0.0
    return 10 * math.log10(max(power, _LEAST_POWER))


def clipped_share(samples: npt.NDArray[np.floating]) -> float:
    """Return the share of samples (n) that lie in flat tops: three or more in a row at the highest level, on one side.

    The level need not be full scale: clipped sound may have been made quieter afterwards.
    """
    highest = float(np.abs(samples).max()) if len(samples) else 0.0
    if highest == 0.0:
        return 0.0
    num_flat = 0
    for side in (samples, -samples):
        is_top = np.concatenate([[False], side >= _LEVEL_TOP * highest, [False]])
        edges = np.flatnonzero(is_top[1:] != is_top[:-1])
        runs = edges[1::2] - edges[::2]
        num_flat += int(runs[runs >= _FEWEST_FLAT].sum())
    return num_flat / len(samples)


def signal_to_noise_db(waveform: Tensor, segments: Sequence[Segment]) -> float:
    """Return by how much the speech of a waveform (n) is louder than the rest, in dB; up to 100.

    The noise is what is mostly heard in pauses, where a word that was not found does not count; with less than 0.2 s of
    them, in the quietest twentieth of all frames.
    """
    is_speech = np.zeros(len(waveform), bool)
    for segment in segments:
        is_speech[segment.start_samples : segment.end_samples] = True
    speech = frame_powers(waveform[torch.from_numpy(is_speech)])
    pauses = frame_powers(waveform[torch.from_numpy(~is_speech)])
    if not len(speech):
        return 0.0
    if len(pauses) >= _FEWEST_PAUSE_FRAMES:
        noise = float(np.median(pauses))
    else:
        noise = float(np.quantile(frame_powers(waveform), _QUIETEST))
    noise = max(noise, _LEAST_POWER)
    signal = max(float(speech.mean()) - noise, _LEAST_POWER)
    return min(10 * math.log10(signal / noise), 100.0)


def bandwidth_db(speech: Tensor) -> float:
    """Return the power of speech (n) from 4.2 to 7.5 kHz against that from 0.3 to 3.8 kHz, in dB.

    Speech that once had 8 kHz has nothing there but the noise of its last rounding.
    """
    spectra = _spectra(speech)
    if not len(spectra):
        return 0.0
    power = spectra.mean(axis=0)
    high, low = (_band(power, *limits).sum() for limits in ((4200.0, 7500.0), (300.0, 3800.0)))
    return 10 * math.log10(max(high, 1e-12) / max(low, 1e-12))


def is_tonal(sound: Tensor) -> bool:
    """Return whether a sound (n) without speech is made of tones, as music is, and no noise."""
    spectra = _spectra(sound)
    if not len(spectra):
        return False
    band = np.stack([_band(power, *_MUSIC_BAND_HZ) for power in spectra]) + 1e-12
    loud = band[band.sum(axis=1) >= np.median(band.sum(axis=1))]
    flatness = np.exp(np.log(loud).mean(axis=1)) / loud.mean(axis=1)
    return float(np.median(flatness)) < _TONAL_FLATNESS


def _spectra(waveform: Tensor) -> Floats:
    """Return (f k) power spectra of a waveform (n), one every 16 ms."""
    if len(waveform) < _FFT_SAMPLES:
        return np.zeros((0, _FFT_SAMPLES // 2 + 1))
    frames = waveform.double().unfold(0, _FFT_SAMPLES, _FFT_SAMPLES // 2)
    window = torch.hann_window(_FFT_SAMPLES, dtype=torch.float64)
    return torch.fft.rfft(frames * window).abs().square().numpy()


def _band(power: Floats, lowest_hz: float, highest_hz: float) -> Floats:
    at_hz = np.arange(len(power)) * SAMPLE_RATE_HZ / _FFT_SAMPLES
    return power[(at_hz >= lowest_hz) & (at_hz < highest_hz)]
