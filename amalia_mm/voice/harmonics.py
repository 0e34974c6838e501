"""Where the harmonics of a pitch lie in a mel frame: what a network would take long to learn, and physics knows.

The frame of a train of pulses, all its harmonics equally loud, as the source of a source-filter model is (Wang, Takaki
and Yamagishi 2019, arXiv 1810.11946, give a network of waveforms the same). It follows from the pitch and the frames
alone: no parameters, no buffers.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.phone_predictors import MIDDLE_HZ
from amalia_mm.voice.pitch import HIGHEST_HZ, LOWEST_HZ

_LOWEST_HZ, _HIGHEST_HZ = LOWEST_HZ / 1.5, HIGHEST_HZ * 1.5
"""Half an octave more than is heard: what is said may be higher or lower by some semitones."""
_NUM_PITCHES = 1024
"""Of the table, 250 an octave: from one to the next the twentieth harmonic moves by a twentieth of its distance."""
_FLOOR = 0.1
"""Between two harmonics there is some noise: a share of the mean amplitude, or the logarithm would see nothing else."""


def harmonics(log_pitch: Tensor, mel: VoiceMel) -> Tensor:
    """Return (b f m), the log-mel frame of a pulse train of each pitch, 0 on average over the bins of a frame.

    Args:
        log_pitch: (b f), as `phone_predictors.log_pitch` counts it; what is more than half an octave beyond what
            `pitch_hz` finds is taken for that.
        mel: The frames.
    """
    table = _table(mel.sample_rate_hz, mel.num_mels, mel.fft_samples, log_pitch.device)
    low, high = (math.log(hz / MIDDLE_HZ) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    place = ((log_pitch.float() - low) / (high - low)).clamp(0.0, 1.0) * (_NUM_PITCHES - 1)
    below = place.floor().clamp(max=_NUM_PITCHES - 2)
    return torch.lerp(table[below.long()], table[below.long() + 1], (place - below)[..., None])


@lru_cache
def _table(sample_rate_hz: int, num_mels: int, fft_samples: int, device: torch.device) -> Tensor:
    """Return (pitches m), the frames of pitches that rise evenly in their logarithm."""
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        filters = VoiceMel(sample_rate_hz, num_mels, fft_samples).filters().double()
        pitch = torch.logspace(math.log10(_LOWEST_HZ), math.log10(_HIGHEST_HZ), _NUM_PITCHES).double()
        frequency = torch.arange(fft_samples // 2 + 1) * (sample_rate_hz / fft_samples)
        # Two harmonics below each frequency and two above: the lobe of a window of 50 ms or more reaches no further.
        power = torch.zeros(_NUM_PITCHES, len(frequency), dtype=torch.float64)
        nearest = (frequency[None] / pitch[:, None]).floor()
        for step in (-1, 0, 1, 2):
            number = nearest + step
            apart = (frequency[None] - number * pitch[:, None]) * fft_samples / sample_rate_hz
            is_there = (number >= 1) & (number * pitch[:, None] < sample_rate_hz / 2)
            power += torch.where(is_there, _lobe(apart).square(), 0.0)
        amplitude = power.sqrt() @ filters.T / filters.sum(1).clamp(min=1e-6)
        frames = (amplitude + _FLOOR * amplitude.mean(1, keepdim=True)).log()
        return (frames - frames.mean(1, keepdim=True)).float().to(device)


def _lobe(bins: Tensor) -> Tensor:
    """Return the amplitude of a sine through a Hann window, so many frequencies of the transform away from it."""
    # sinc(x) / (1 - x^2) has a hole at one bin to either side, where it is a half.
    hole = (bins.abs() - 1).abs() < 1e-6
    amplitude = torch.sinc(bins) / torch.where(hole, 1.0, 1 - bins.square())
    return torch.where(hole, 0.5, amplitude).abs()
