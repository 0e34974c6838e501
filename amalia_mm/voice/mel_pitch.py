"""How high a voice is, read off its log-mel frames alone: the pulse train whose harmonics a frame is most like.

A vocoder is given frames and nothing else. Below a kilohertz their bins lie closer than the harmonics of a voice, so
a frame is compared with the frames of all pitches (`harmonics`), both without the slow change over the bins that is
the mouth's. No parameters, and a frame is read by itself: a stream hears what the whole would.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from amalia_mm.voice.harmonics import harmonics
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.phone_predictors import MIDDLE_HZ
from amalia_mm.voice.pitch import HIGHEST_HZ, LOWEST_HZ

_NUM_PITCHES = 700
"""That are compared, 250 an octave: a twentieth of a semitone apart."""
_RESOLVED_HZ = 1_100.0
"""Bins above it hear two harmonics of a low voice as one."""
_AROUND_BINS = 9
"""Bins on average of which one stands out: two or three harmonics of a low voice."""
_EVEN = 1.0
"""A frame whose bins stand out by no more than this, as a vector, is like nothing."""


@torch.no_grad()
def pitch_of_frames(log_mel: Tensor, mel: VoiceMel) -> tuple[Tensor, Tensor]:
    """Return the likeliest pitch (b f) in Hz of log-mel frames (b m f), and how like its harmonics they are (b f).

    A likeness is a cosine: near 1 where a voice is all but periodic, 0.5 in noise, in which some pitch always fits.
    A frame without a pitch has one, too, and an unlike one.
    """
    with torch.autocast(log_mel.device.type, enabled=False):
        combs = _combs(mel.sample_rate_hz, mel.num_mels, mel.fft_samples, log_mel.device)
        frames = _outstanding(log_mel.float().transpose(1, 2))[..., : combs.shape[1]]
        frames = frames / torch.linalg.vector_norm(frames, dim=-1, keepdim=True).clamp(min=_EVEN)
        likeness, place = (frames @ combs.T).max(-1)
        octaves = math.log2(HIGHEST_HZ / LOWEST_HZ)
        return LOWEST_HZ * torch.exp2(place * (octaves / (_NUM_PITCHES - 1))), likeness


@lru_cache
def _combs(sample_rate_hz: int, num_mels: int, fft_samples: int, device: torch.device) -> Tensor:
    """Return (pitches m), unit vectors of the low bins of each pitch's frame, rising evenly in its logarithm."""
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        mel = VoiceMel(sample_rate_hz, num_mels, fft_samples)
        log_pitch = torch.linspace(
            math.log(LOWEST_HZ / MIDDLE_HZ), math.log(HIGHEST_HZ / MIDDLE_HZ), _NUM_PITCHES
        )
        peaks = mel.filters().argmax(1) * (sample_rate_hz / fft_samples)
        num_bins = int((peaks < _RESOLVED_HZ).sum())
        combs = _outstanding(harmonics(log_pitch[None], mel)[0])[:, :num_bins]
        return (combs / torch.linalg.vector_norm(combs, dim=1, keepdim=True)).to(device)


def _outstanding(frames: Tensor) -> Tensor:
    """Return (... m) what each bin has above those around it; at the ends, those that are there."""
    weights = torch.hann_window(_AROUND_BINS + 2, periodic=False, device=frames.device)[None, None, 1:-1]
    rows = frames.reshape(-1, 1, frames.shape[-1])
    around, there = (
        F.conv1d(each, weights, padding=_AROUND_BINS // 2) for each in (rows, torch.ones_like(rows[:1]))
    )
    return (rows - around / there).reshape(frames.shape)
