"""Rooms: a clip as it would be heard in one, from the impulse response that somebody measured there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from amalia_mm.audio.chance import check_probability, choice, happens
from amalia_mm.audio.noise import rms
from amalia_mm.audio.sounds import Sounds

_FFT_SAMPLES = 4096


@dataclass(frozen=True)
class Rooms:
    """Impulse responses, one of which a clip is heard through.

    Args:
        paths: Files of impulse responses, folders of them, and folders of tar shards; of several channels the first.
        probability: How often a clip stands in a room.

    Raises:
        ValueError: The probability is outside 0 to 1.
    """

    paths: Sequence[str] = field(default_factory=tuple)
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("rooms.probability", self.probability)

    @property
    def sounds(self) -> Sounds:
        """The impulse responses."""
        return Sounds(tuple(self.paths))

    def __call__(self, waveform: Tensor, generator: Generator) -> Tensor:
        """Return the clip (n) in one of the rooms."""
        if not happens(self.probability, generator):
            return waveform
        return reverberate(waveform, self.sounds.load_first_channel(choice(len(self.sounds), generator)))


def reverberate(waveform: Tensor, response: Tensor) -> Tensor:
    """Return a clip (n) convolved with an impulse response (r), as loud as before.

    The way of the sound from mouth to microphone is left out, so that words stay where they were; the echo beyond the
    end of the clip is not part of it.
    """
    response = response[int(response.abs().argmax()) :]
    size = (
        -(-(len(waveform) + len(response) - 1) // _FFT_SAMPLES) * _FFT_SAMPLES
    )  # large prime factors are slow
    spectrum = torch.fft.rfft(waveform, n=size) * torch.fft.rfft(response, n=size)
    heard = torch.fft.irfft(spectrum, n=size)[: len(waveform)]
    return heard * (rms(waveform) / rms(heard).clamp(min=1e-12))
