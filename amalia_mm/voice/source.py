"""What a voice is before the mouth shapes it: pulses of its pitch, and noise, as loud at every frequency.

A source-filter vocoder is given it (Wang, Takaki and Yamagishi 2019, arXiv 1904.12088; with an inverse short-time
transform, HiFTNet, arXiv 2309.09493): from frames alone it would have to find phases that go on from one to the next,
which distances of magnitudes do not teach. Follows from the frames: no parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from amalia_mm.voice.mel import VoiceMel, hann, short_time_spectrum
from amalia_mm.voice.mel_pitch import pitch_of_frames

_VOICED, _STEEPNESS = 0.7, 20.0
"""The likeness to harmonics at which a frame is taken for half a voice, half noise; and how fast it is all of one."""
_BREATH = 0.1
"""The amplitude of noise beside pulses of 1: something has to lie between harmonics."""
_NOISE_SAMPLES = 1 << 16
"""After so many the noise comes again, which is seconds."""


@dataclass(frozen=True, eq=False)
class SourceTrack:
    """What the source of some frames follows from, read once: the frames after them go on from it.

    Attributes:
        hz: (b f) the pitch.
        voiced: (b f) from 0, noise alone, to 1, pulses.
        turns: (b f) float64, how far into a period of the pulses each frame is, from 0 to 1.
        num_samples: How many samples lie before the first frame.
    """

    hz: Tensor
    voiced: Tensor
    turns: Tensor
    num_samples: int = 0

    def since(self, frame: int, mel: VoiceMel) -> SourceTrack:
        """Return the track without the frames before this one."""
        num_samples = self.num_samples + frame * mel.hop_samples
        return SourceTrack(self.hz[:, frame:], self.voiced[:, frame:], self.turns[:, frame:], num_samples)

    def moved(self) -> SourceTrack:
        """Return the track as if it began somewhere else, at random: its pulses and its noise are others."""
        turns = torch.rand(len(self.turns), 1, dtype=torch.float64, device=self.turns.device)
        num_samples = int(torch.randint(_NOISE_SAMPLES, ()))
        return SourceTrack(self.hz, self.voiced, (self.turns + turns).remainder(1.0), num_samples)


@torch.no_grad()
def source_track(log_mel: Tensor, mel: VoiceMel, before: SourceTrack | None = None) -> SourceTrack:
    """Return the track of log-mel frames (b m f) and of those `before` them; errors as `pitch_of_frames`."""
    hz, likeness = pitch_of_frames(log_mel, mel)
    voiced = ((likeness - _VOICED) * _STEEPNESS).sigmoid()
    known = hz.new_zeros(len(hz), 1, dtype=torch.float64) if before is None else before.turns
    if before is not None:
        hz, voiced = torch.cat([before.hz, hz], dim=1), torch.cat([before.voiced, voiced], dim=1)
    new_hops_hz = _in_hops(hz[:, known.shape[1] - 1 :].log(), mel.hop_samples).exp()
    passed = (new_hops_hz.double() / mel.sample_rate_hz).sum(2).cumsum(1)
    turns = torch.cat([known, (known[:, -1:] + passed).remainder(1.0)], dim=1)
    return SourceTrack(hz, voiced, turns, 0 if before is None else before.num_samples)


@torch.no_grad()
def source(track: SourceTrack, mel: VoiceMel) -> Tensor:
    """Return the source (b n) float32 of a track of f frames, n = (f - 1) * hop_samples; its mean square is near 1."""
    hops_hz = _in_hops(track.hz.log(), mel.hop_samples).exp().double()
    turns = track.turns[:, :-1, None] + (hops_hz / mel.sample_rate_hz).cumsum(2)
    pulses = _pulses(turns, hops_hz, mel.sample_rate_hz).flatten(1)
    place = torch.arange(track.num_samples, track.num_samples + pulses.shape[1], device=pulses.device)
    noise = _noise(pulses.device)[place % _NOISE_SAMPLES]
    voiced = _in_hops(track.voiced, mel.hop_samples).flatten(1)
    return voiced.sqrt() * pulses + (1 - (1 - _BREATH**2) * voiced).sqrt() * noise


@torch.no_grad()
def source_spectrum(track: SourceTrack, mel: VoiceMel) -> Tensor:
    """Return the short-time spectrum (b w f), complex, of the source of a track; its mean square is near 1.

    Beyond the ends of the frames it is silent: it may be shorter than half a window, which could not be mirrored.
    """
    with torch.autocast(track.hz.device.type, enabled=False):
        made = source(track, mel)
        spectrum = short_time_spectrum(made, mel.fft_samples, mel.hop_samples, pad_mode="constant")
        return spectrum * hann(mel.fft_samples, made.device).square().sum().rsqrt()


def _in_hops(values: Tensor, hop_samples: int) -> Tensor:
    """Return (b f-1 n) of values at frames (b f): straight lines from each to the next, a sample at a time."""
    share = torch.arange(hop_samples, device=values.device) / hop_samples
    return torch.lerp(values[:, :-1, None], values[:, 1:, None], share)


def _pulses(turns: Tensor, hz: Tensor, sample_rate_hz: int) -> Tensor:
    """Return the sum of all harmonics below half the sample rate, as cosines, float32; its mean square is 1."""
    number = (sample_rate_hz / 2 / hz).floor()
    # Dirichlet's kernel; 0 / 0 where a period begins, where all harmonics are 1.
    half_sine = (math.pi * turns).sin()
    is_peak = half_sine.abs() < 1e-9
    waves = (math.pi * (2 * number + 1) * turns).sin() / (2 * torch.where(is_peak, 1.0, half_sine)) - 0.5
    return (torch.where(is_peak, number, waves) * (2 / number).sqrt()).float()


@lru_cache
def _noise(device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.device("cpu"):
        return torch.randn(_NOISE_SAMPLES, generator=torch.Generator().manual_seed(0)).to(device)
