"""How high a voice is, read off its log-mel frames alone: the pulse train whose harmonics a frame is most like.

A vocoder is given frames and nothing else; others have a network for it (HiFTNet; Li, Han and Mesgarani 2023, arXiv
2309.09493). But below 1.1 kHz the bins of a frame lie closer than the harmonics of a voice: a frame is compared with
those of all pitches (`harmonics`), both without the slow change over the bins that is the mouth's. It has nothing to
learn, and a frame is read by itself, as soon as it is there.
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
_FIRST_HZ, _LAST_HZ = 50.0, 1_100.0
"""Of the bins that are compared. Those below are under every harmonic, and a microphone that cuts them off would look
like a pitch; those above hear two harmonics of a low voice as one."""
_AROUND_BINS = 9
"""Bins on average of which one stands out: two or three harmonics of a low voice."""
_EVEN = 1.0
"""A frame whose bins stand out by no more than this, as a vector, is like nothing."""


@torch.no_grad()
def pitch_of_frames(log_mel: Tensor, mel: VoiceMel) -> tuple[Tensor, Tensor]:
    """Return the likeliest pitch (b f) in Hz of log-mel frames (b m f), and how like its harmonics they are (b f).

    A likeness is a cosine: 0.9 where a voice is all but periodic, around 0.6 in noise, in which some pitch always
    fits. A frame without a pitch has one, too, and an unlike one; so has a low voice through a telephone, which cuts
    most of what is compared. Pitches lie between `LOWEST_HZ` and `HIGHEST_HZ`: a child's scream is read an octave down.

    Raises:
        ValueError: No pitch can be read off these frames (`check_pitch_is_in`).
    """
    with torch.autocast(log_mel.device.type, enabled=False):
        bins, combs = _combs(mel.sample_rate_hz, mel.num_mels, mel.fft_samples, log_mel.device)
        frames = _outstanding(log_mel.float().transpose(1, 2))[..., bins]
        frames = frames / torch.linalg.vector_norm(frames, dim=-1, keepdim=True).clamp(min=_EVEN)
        likeness, place = (frames @ combs.T).max(-1)
        octaves = math.log2(HIGHEST_HZ / LOWEST_HZ)
        return LOWEST_HZ * torch.exp2(place * (octaves / (_NUM_PITCHES - 1))), likeness


def check_pitch_is_in(mel: VoiceMel) -> None:
    """Raise `ValueError` where frames are too coarse to tell the harmonics of a low voice from one another."""
    bin_hz = mel.sample_rate_hz / mel.fft_samples
    with torch.device("cpu"):
        num_bins = len(_compared(mel))
        is_empty = bool((mel.filters().sum(1)[:num_bins] == 0).any())
    if bin_hz > LOWEST_HZ / 2 or num_bins < _LAST_HZ / LOWEST_HZ or is_empty:
        raise ValueError(
            f"no pitch can be read off {mel.num_mels} mel bins of {mel.fft_samples} samples at {mel.sample_rate_hz} "
            f"Hz: {num_bins} bins between {_FIRST_HZ:g} and {_LAST_HZ:g} Hz, frequencies {bin_hz:g} Hz apart; wanted "
            f"at least {_LAST_HZ / LOWEST_HZ:.0f} bins, none of them empty, and {LOWEST_HZ / 2:g} Hz"
        )


def _compared(mel: VoiceMel) -> list[int]:
    """Return the bins whose filters have their peak where harmonics are told apart."""
    peaks_hz = mel.filters().argmax(1) * (mel.sample_rate_hz / mel.fft_samples)
    return [place for place, hz in enumerate(peaks_hz.tolist()) if _FIRST_HZ <= hz < _LAST_HZ]


@lru_cache
def _combs(
    sample_rate_hz: int, num_mels: int, fft_samples: int, device: torch.device
) -> tuple[slice, Tensor]:
    """Return the bins to compare, and of each pitch its frame in them (pitches m) as a unit vector."""
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        mel = VoiceMel(sample_rate_hz, num_mels, fft_samples)
        check_pitch_is_in(mel)
        low, high = (math.log(hz / MIDDLE_HZ) for hz in (LOWEST_HZ, HIGHEST_HZ))
        log_pitch = torch.linspace(low, high, _NUM_PITCHES)
        compared = _compared(mel)
        bins = slice(compared[0], compared[-1] + 1)
        combs = _outstanding(harmonics(log_pitch[None], mel)[0])[:, bins]
        return bins, (combs / torch.linalg.vector_norm(combs, dim=1, keepdim=True)).to(device)


def _outstanding(frames: Tensor) -> Tensor:
    """Return (... m) what each bin has above those around it; at the ends, those that are there."""
    weights = torch.hann_window(_AROUND_BINS + 2, periodic=False, device=frames.device)[None, None, 1:-1]
    rows = frames.reshape(-1, 1, frames.shape[-1])
    around, there = (
        F.conv1d(each, weights, padding=_AROUND_BINS // 2) for each in (rows, torch.ones_like(rows[:1]))
    )
    return (rows - around / there).reshape(frames.shape)
