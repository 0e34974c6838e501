"""What a voice is before the mouth shapes it: pulses of its pitch, and noise, as loud at every frequency.

A source-filter vocoder is given it (Wang, Takaki and Yamagishi 2019, arXiv 1904.12088): from frames alone it would
have to find phases that go on from one to the next, which distances of magnitudes do not teach. Follows from the
frames: no parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from amalia_mm.voice.mel import VoiceMel, hann
from amalia_mm.voice.mel_pitch import pitch_of_frames

_VOICED = 0.6
"""The likeness to harmonics at which a frame is taken for half a voice, half noise."""
_STEEPNESS = 20.0
_BREATH = 0.1
"""The amplitude of noise beside pulses of 1: something has to lie between harmonics."""
_NOISE_SAMPLES = 1 << 16
"""After so many the noise comes again: four seconds, longer than anything is remembered."""


@dataclass(frozen=True)
class SourceStart:
    """Where a source goes on, at the first of some frames.

    Attributes:
        turns: (b) float64, how far into a period its pulses are, from 0 to 1.
        num_samples: How many samples came before.
    """

    turns: Tensor
    num_samples: int


@torch.no_grad()
def source(log_mel: Tensor, mel: VoiceMel, start: SourceStart | None = None) -> Tensor:
    """Return the source (b n) float32 of log-mel frames (b m f), n = (f - 1) * hop_samples; its mean square is near 1.

    Args:
        log_mel: Of at least two frames.
        mel: The frames.
        start: Where it goes on; None at the beginning.
    """
    hz, likeness = pitch_of_frames(log_mel, mel)
    begun = start or SourceStart(hz.new_zeros(len(hz), dtype=torch.float64), 0)
    each_hz = _each_sample(hz.log(), mel.hop_samples).exp()
    pulses = _pulses(_turns(each_hz, mel, begun), each_hz, mel.sample_rate_hz)
    place = torch.arange(begun.num_samples, begun.num_samples + pulses.shape[1], device=hz.device)
    noise = _noise(hz.device)[place % _NOISE_SAMPLES]
    voiced = _each_sample(((likeness - _VOICED) * _STEEPNESS).sigmoid(), mel.hop_samples)
    return voiced.sqrt() * pulses + (1 - (1 - _BREATH**2) * voiced).sqrt() * noise


@torch.no_grad()
def source_spectrum(log_mel: Tensor, mel: VoiceMel, start: SourceStart | None = None) -> Tensor:
    """Return the short-time spectrum (b w f), complex, of the source of log-mel frames (b m f), mean square near 1.

    Beyond the ends of the frames it is silent: it may be shorter than half a window, which could not be mirrored.
    """
    window = hann(mel.fft_samples, log_mel.device)
    with torch.autocast(log_mel.device.type, enabled=False):
        spectrum = torch.stft(
            source(log_mel, mel, start),
            mel.fft_samples,
            mel.hop_samples,
            window=window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        return spectrum * window.square().sum().rsqrt()


@torch.no_grad()
def source_after(log_mel: Tensor, mel: VoiceMel, start: SourceStart | None = None) -> SourceStart:
    """Return where the source of log-mel frames (b m f) is at the last of them: there, those that follow go on."""
    hz, _ = pitch_of_frames(log_mel, mel)
    begun = start or SourceStart(hz.new_zeros(len(hz), dtype=torch.float64), 0)
    turns = _turns(_each_sample(hz.log(), mel.hop_samples).exp(), mel, begun)
    last = torch.cat([begun.turns[:, None], turns], dim=1)[:, -1]
    return SourceStart(last, begun.num_samples + turns.shape[1])


def _each_sample(values: Tensor, hop_samples: int) -> Tensor:
    """Return (b n) of values at frames (b f), straight lines between them."""
    share = torch.arange(hop_samples, device=values.device) / hop_samples
    return torch.lerp(values[:, :-1, None], values[:, 1:, None], share).flatten(1)


def _turns(each_hz: Tensor, mel: VoiceMel, start: SourceStart) -> Tensor:
    """Return (b n) float64, how far into a period each sample is."""
    return (start.turns[:, None] + (each_hz.double() / mel.sample_rate_hz).cumsum(1)).remainder(1.0)


def _pulses(turns: Tensor, each_hz: Tensor, sample_rate_hz: int) -> Tensor:
    """Return (b n) the sum of all harmonics below half the sample rate, as cosines; its mean square is 1."""
    number = (sample_rate_hz / 2 / each_hz).floor()
    half_sine = (math.pi * turns).sin().float()
    # Dirichlet's kernel; 0 / 0 where a period begins, where all harmonics are 1.
    is_peak = half_sine.abs() < 1e-4
    waves = (math.pi * (2 * number.double() + 1) * turns).sin().float()
    summed = waves / (2 * torch.where(is_peak, 1.0, half_sine)) - 0.5
    return torch.where(is_peak, number, summed) * (2 / number).sqrt()


@lru_cache
def _noise(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.randn(_NOISE_SAMPLES, generator=torch.Generator().manual_seed(0)).to(device)
