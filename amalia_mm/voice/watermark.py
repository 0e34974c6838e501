"""An inaudible mark in synthesised speech, and its detector: Perth's network, made to hear through noise.

resemble-perth marks the spectrum below 2 kHz where the ear does not notice. Its own detector reads the mark through
codecs, resampling and cuts, and loses it in noise 10 dB below the speech. Three things bring it back, measured in
`tests/benchmarks/voice/test_watermark.py`: the mark is a little stronger, steady noise is subtracted from the spectrum
before it is read (Berouti, Schwartz and Makhoul, "Enhancement of speech corrupted by acoustic noise", 1979), and only
the louder half of the frames is read. Frames that are soft beside what is said now and what was said before are not
marked: they would hardly be read, and there it could be heard.

The network is public. Whoever works at it can remove the mark, which is why a file carries a signed manifest as well.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import resample

from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples

STRENGTH = 2.0
"""Times the change that Perth makes: noise of 10 dB asks for it."""
THRESHOLDS = (0.4, 0.8)
"""From which score on a stretch counts as marked: in noise, and without. Noise takes from the score of marked speech, a
codec at its lowest rate adds to that of unmarked speech, and how far the loudness of frames ranges tells them apart."""
_RANGES_DB = (20.0, 30.0)
_LOUD_DB = 20.0
"""How far below the loudest frame so far a frame may be and still be marked; the louder half of a piece always is."""
_PERTH_HZ = 32_000
_STRETCH_S = 6.0
_CONTEXT_S = 0.5
_CROSSFADE_S = 0.01
_QUIET_SHARE = 0.5
_NOISE_QUANTILE = 0.15
_NOISE_TIMES, _NOISE_FLOOR = 6.0, 0.02
_SMOOTH_BINS = 15


@dataclass(frozen=True)
class Detection:
    """Whether a recording carries the mark.

    Args:
        score: The network's answer for the stretch that is likeliest marked: about 0 without the mark, 1 with it.
        wanted: From which score on it counts as marked.
    """

    score: float
    wanted: float

    @property
    def is_marked(self) -> bool:
        """Whether the mark was found."""
        return self.score >= self.wanted


class Marker:
    """Marks speech as it comes.

    The network sees half a second before each piece; where two pieces meet, the mark of one passes into that of the
    next within 10 ms, so the last 10 ms of a piece come out with the next one. A piece should be a quarter of a second
    or more: the network can do little with less.

    Args:
        sample_rate_hz: Of the speech.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._context = torch.zeros(0)
        self._held = torch.zeros(0)
        self._held_mark = torch.zeros(0)
        self._loudest = 0.0

    def push(self, waveform: Tensor) -> Tensor:
        """Return what is finished (n) of the speech so far."""
        return self._pushed(waveform, seconds_to_samples(_CROSSFADE_S, self._rate_hz))

    def flush(self) -> Tensor:
        """Return the rest (n): as many samples have come out as went in."""
        rest = self._held + self._held_mark
        self._context = self._held = self._held_mark = torch.zeros(0)
        self._loudest = 0.0
        return rest

    def _pushed(self, waveform: Tensor, num_held: int) -> Tensor:
        fresh = torch.cat([self._held, waveform])
        if len(fresh) <= num_held:
            self._held = fresh
            self._held_mark = torch.zeros(len(fresh))
            return torch.zeros(0)
        change, self._loudest = _change(torch.cat([self._context, fresh]), self._rate_hz, self._loudest)
        added = change[len(self._context) :]
        old, new = self._held_mark, added[: len(self._held_mark)]
        added = torch.cat([torch.lerp(old, new, torch.linspace(0.0, 1.0, len(old))), added[len(old) :]])
        done = len(fresh) - num_held
        self._held, self._held_mark = fresh[done:], added[done:]
        seen = torch.cat([self._context, fresh[:done]])
        self._context = seen[max(len(seen) - seconds_to_samples(_CONTEXT_S, self._rate_hz), 0) :]
        return fresh[:done] + added[:done]


def can_mark() -> bool:
    """Return whether Perth, which marks, is installed: it is in the extra `voice`."""
    return importlib.util.find_spec("perth") is not None


def mark(waveform: Tensor, sample_rate_hz: int) -> Tensor:
    """Return a waveform (n) with the mark in it, as long as before."""
    marker = Marker(sample_rate_hz)
    pieces = waveform.split(seconds_to_samples(_STRETCH_S, sample_rate_hz))
    return torch.cat([*(marker.push(piece) for piece in pieces), marker.flush()])


def detect(waveform: Tensor) -> Detection:
    """Return whether a waveform (n) at 16 kHz carries the mark.

    Recordings over 6 s are read stretch by stretch, since the mark may be in a part alone.
    """
    return max((_detection(stretch) for stretch in _stretches(waveform)), key=lambda d: d.score - d.wanted)


def _stretches(waveform: Tensor) -> Iterator[Tensor]:
    length = seconds_to_samples(_STRETCH_S)
    for start in range(0, max(len(waveform) - length // 2, 1), length // 2):
        yield waveform[start : start + length]


@torch.no_grad()
def _change(waveform: Tensor, sample_rate_hz: int, loudest: float) -> tuple[Tensor, float]:
    """Return what is to be added to a waveform (n) to mark it, and how loud its loudest frame or the one before is.

    Nothing outside the band of the mark is touched, and of the softer half no frame that is soft beside the loudest.
    """
    network = _network()
    if not _has_a_frame(waveform, sample_rate_hz, network):
        return torch.zeros(len(waveform)), loudest
    upsampled = _at_rate(waveform.float(), sample_rate_hz, _PERTH_HZ)
    magnitudes, phases = network.ap.signal_to_magphase(upsampled)
    marked, _ = network.encoder(magnitudes[None])
    loudness = network.ap.spectrogram(upsampled).abs().square().sum(dim=0)
    loudest = max(loudest, float(loudness.max()))
    wanted = min(loudest * 10.0 ** (-_LOUD_DB / 10.0), float(loudness.quantile(_QUIET_SHARE)))
    marked = torch.where(loudness >= wanted, marked[0], magnitudes)
    # Both ways through the spectrum: what the way itself changes is no mark.
    there_and_back = [network.ap.magphase_to_signal(spectrum, phases) for spectrum in (marked, magnitudes)]
    change = (there_and_back[0] - there_and_back[1]) * STRENGTH
    change = _at_rate(change, _PERTH_HZ, sample_rate_hz)[: len(waveform)]
    return functional.pad(change, (0, len(waveform) - len(change))), loudest


def _has_a_frame(waveform: Tensor, sample_rate_hz: int, network: Any) -> bool:
    """Return whether there is anything to mark or to read: sound, and half a window (32 ms) of it."""
    return len(waveform) * _PERTH_HZ // sample_rate_hz > network.hp.n_fft // 2 and bool(waveform.any())


@torch.no_grad()
def _detection(waveform: Tensor) -> Detection:
    """Return the network's answer for a stretch (n) at 16 kHz, and what it has to be."""
    network = _network()
    if not _has_a_frame(waveform, SAMPLE_RATE_HZ, network):
        return Detection(0.0, THRESHOLDS[1])
    upsampled = _at_rate(waveform.float(), SAMPLE_RATE_HZ, _PERTH_HZ)
    power = network.ap.spectrogram(upsampled)[: network.decoder.subband].abs().square()
    loudness = power.sum(dim=0)
    is_loud = loudness >= loudness.quantile(_QUIET_SHARE)
    noise = power.quantile(_NOISE_QUANTILE, dim=1)
    noise = functional.avg_pool1d(noise[None], _SMOOTH_BINS, 1, _SMOOTH_BINS // 2, count_include_pad=False).mT
    clean = torch.maximum(power - _NOISE_TIMES * noise, _NOISE_FLOOR * noise)
    score = _read(network, _normalised(clean, network.hp.stft_magnitude_min), is_loud)
    return Detection(score, _wanted(loudness))


def _wanted(loudness: Tensor) -> float:
    """Return the threshold for a stretch by the range (dB) between its loud and its soft frames (f)."""
    loud, soft = loudness.quantile(0.95), loudness.quantile(0.05)
    range_db = float(10.0 * torch.log10(loud / soft.clamp(min=1e-9)))
    low, high = _RANGES_DB
    share = min(max((range_db - low) / (high - low), 0.0), 1.0)
    return THRESHOLDS[0] + share * (THRESHOLDS[1] - THRESHOLDS[0])


def _read(network: Any, spectrum: Tensor, is_read: Tensor) -> float:
    """Return the answer of Perth's decoder from the frames that are to be read; its `forward` chooses them itself.

    Three branches hear the spectrum slower, as it is and faster; the one that is surest counts most.
    """
    decoder, num_frames = network.decoder, spectrum.shape[1]
    answers, sureness = [], []
    for layers, stretch in (
        (decoder.slow_layers, 1.25),
        (decoder.normal_layers, 1.0),
        (decoder.fast_layers, 0.75),
    ):
        size = int(num_frames * stretch)
        heard = functional.interpolate(spectrum[None], size=size, mode="linear", align_corners=True)
        weights = functional.interpolate(is_read[None, None].float(), size=size, mode="nearest")
        sure, answer = ((layers(heard) * weights).sum(dim=2) / weights.sum(dim=2))[0]
        sureness.append(sure)
        answers.append(answer)
    return float((torch.stack(sureness).softmax(dim=0) * torch.stack(answers)).sum())


def _normalised(power: Tensor, least: float, headroom_db: float = 15.0) -> Tensor:
    """Return a power spectrum on the scale that Perth's networks read (`cx_to_magphase`)."""
    least_db = 20.0 * torch.log10(torch.tensor(least))
    decibels = 10.0 * torch.log10(power.clamp(min=least**2))
    return (decibels - least_db) / (headroom_db - least_db)


def _at_rate(waveform: Tensor, from_hz: int, to_hz: int) -> Tensor:
    return waveform if from_hz == to_hz else resample(waveform, from_hz, to_hz)


@cache
def _network() -> Any:
    """Return Perth's network, whose weights come with its package."""
    spec = importlib.util.find_spec("perth")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'perth'", name="perth")
    folder = Path(spec.submodule_search_locations[0]) / "perth_net" / "pretrained"
    with _package_resources(folder), contextlib.redirect_stdout(io.StringIO()):  # it says that it loaded
        from perth.perth_net.perth_net_implicit.model.perth_net import PerthNet

        return PerthNet.load("implicit", str(folder)).eval().requires_grad_(False)


@contextlib.contextmanager
def _package_resources(folder: Path) -> Iterator[None]:
    """Let Perth ask `pkg_resources` where its weights are: setuptools 82 no longer has it."""
    name = "pkg_resources"
    if name in sys.modules:
        yield
        return
    stand_in = types.ModuleType(name)
    stand_in.__dict__["resource_filename"] = lambda package, resource: str(folder)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]
