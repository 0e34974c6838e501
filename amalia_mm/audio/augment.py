"""A training clip as another room, microphone or line might have given it.

Every draw comes from the generator that is passed in, so a clip depends on its seed alone. Lengths never change here:
speed does, and the order of the data must count with it, so it draws the speed (`data/visits.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from amalia_mm.audio.chance import between, check_probability, check_range, happens
from amalia_mm.audio.clipping import Clipping
from amalia_mm.audio.codecs import Codecs
from amalia_mm.audio.noise import RecordedNoise, add_noise, some_colour
from amalia_mm.audio.rooms import Rooms
from amalia_mm.audio.speed import check_speeds
from amalia_mm.units import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Augment:
    """What is done to training clips, in this order: room, noise, clipping, telephone, codec, level.

    Args:
        noise_probability: How often noise is added, white, pink or brown in equal shares.
        noise_snr_db: The range of signal-to-noise ratios, lowest and highest.
        gain_probability: How often the level is changed.
        gain_db: The range of gains, lowest and highest; peaks may go beyond 1 and are not cut.
        telephone_probability: How often only the band of the telephone is left.
        telephone_hz: That band, lowest and highest.
        speeds: At which speeds a clip is heard, one after the other, beginning anywhere (0.9, 1.0, 1.1).
        rooms: Impulse responses; None is no room.
        recorded_noise: Noise from files; None is none.
        clipping: Peaks cut off; None cuts none.
        codecs: Telephone and small files; None is neither.

    Raises:
        ValueError: A probability is outside 0 to 1, a range upside down, or a speed none.
    """

    noise_probability: float = 0.5
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
    gain_probability: float = 0.5
    gain_db: tuple[float, float] = (-12.0, 3.0)
    telephone_probability: float = 0.0
    telephone_hz: tuple[float, float] = (300.0, 3400.0)
    speeds: tuple[float, ...] = (1.0,)
    rooms: Rooms | None = None
    recorded_noise: RecordedNoise | None = None
    clipping: Clipping | None = None
    codecs: Codecs | None = None

    def __post_init__(self) -> None:
        for name in ("noise_probability", "gain_probability", "telephone_probability"):
            check_probability(name, getattr(self, name))
        for name in ("noise_snr_db", "gain_db", "telephone_hz"):
            check_range(name, getattr(self, name))
        check_speeds(tuple(self.speeds))

    def check_sounds(self) -> None:
        """Raise `InputError` where there is no recording at the paths of rooms and noise: before the first step."""
        for part in (self.rooms, self.recorded_noise):
            if part is not None:
                len(part.sounds)

    def __call__(self, waveform: Tensor, generator: Generator) -> Tensor:
        """Return the clip (n) float32 as heard elsewhere; the one passed in is left as it is."""
        if self.rooms is not None:
            waveform = self.rooms(waveform, generator)
        if happens(self.noise_probability, generator):
            waveform = add_noise(
                waveform, some_colour(generator), between(self.noise_snr_db, generator), generator
            )
        for part in (self.recorded_noise, self.clipping):
            if part is not None:
                waveform = part(waveform, generator)
        if happens(self.telephone_probability, generator):
            waveform = band(waveform, *self.telephone_hz)
        if self.codecs is not None:
            waveform = self.codecs(waveform, generator)
        if happens(self.gain_probability, generator):
            waveform = waveform * 10.0 ** (between(self.gain_db, generator) / 20.0)
        return waveform


def band(waveform: Tensor, lowest_hz: float, highest_hz: float) -> Tensor:
    """Return a clip (n) with nothing left outside of a band."""
    spectrum = torch.fft.rfft(waveform)
    frequencies_hz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, len(spectrum))
    inside = (frequencies_hz >= lowest_hz) & (frequencies_hz <= highest_hz)
    return torch.fft.irfft(spectrum * inside, n=len(waveform))
