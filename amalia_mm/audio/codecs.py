"""Telephone lines and small files: a clip as it comes out of a codec, encoded and decoded for real.

The codecs of the telephone (mu-law and A-law of G.711, GSM 06.10) hear 8 kHz; Opus and MP3 are set to about 16 kbit/s,
Vorbis to its lowest. All come with libsndfile.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import soundfile
import soxr
import torch
from torch import Generator, Tensor

from amalia_mm.audio.chance import check_probability, choice, happens
from amalia_mm.audio.uninterrupted import uninterrupted
from amalia_mm.units import SAMPLE_RATE_HZ

Codec = Literal["mu-law", "a-law", "gsm", "opus", "vorbis", "mp3"]
CODECS: tuple[Codec, ...] = get_args(Codec)

_TELEPHONE_HZ = 8_000
_FORMATS: dict[Codec, tuple[int, dict[str, Any]]] = {
    "mu-law": (_TELEPHONE_HZ, {"format": "WAV", "subtype": "ULAW"}),
    "a-law": (_TELEPHONE_HZ, {"format": "WAV", "subtype": "ALAW"}),
    "gsm": (_TELEPHONE_HZ, {"format": "WAV", "subtype": "GSM610"}),
    "opus": (SAMPLE_RATE_HZ, {"format": "OGG", "subtype": "OPUS", "compression_level": 0.96}),
    "vorbis": (SAMPLE_RATE_HZ, {"format": "OGG", "subtype": "VORBIS", "compression_level": 1.0}),
    "mp3": (
        SAMPLE_RATE_HZ,
        # At a constant rate no header tells the decoder how much the encoder was late.
        {
            "format": "MP3",
            "subtype": "MPEG_LAYER_III",
            "compression_level": 0.95,
            "bitrate_mode": "AVERAGE",
        },
    ),
}


@dataclass(frozen=True)
class Codecs:
    """Codecs, one of which a clip goes through.

    Args:
        kinds: Which, in equal shares.
        probability: How often.

    Raises:
        ValueError: A codec is none of `CODECS`, there is none, or the probability is outside 0 to 1.
    """

    kinds: Sequence[Codec] = CODECS
    probability: float = 0.3

    def __post_init__(self) -> None:
        check_probability("codecs.probability", self.probability)
        unknown = [kind for kind in self.kinds if kind not in CODECS]
        if unknown or not self.kinds:
            raise ValueError(f"codecs.kinds {list(self.kinds)}: one or more of {', '.join(CODECS)}")

    def __call__(self, waveform: Tensor, generator: Generator) -> Tensor:
        """Return the clip (n) out of one of the codecs."""
        if not happens(self.probability, generator):
            return waveform
        return through(waveform, self.kinds[choice(len(self.kinds), generator)])


def through(waveform: Tensor, codec: Codec) -> Tensor:
    """Return a clip (n) encoded and decoded, as long as before and where it was.

    What a codec adds at the end to fill its last frame is left out. Peaks beyond 1 go through smaller, and come out
    as large as they were.
    """
    rate_hz, container = _FORMATS[codec]
    peak = max(1.0, float(waveform.abs().max()))
    samples = _resampled((waveform / peak).numpy(), SAMPLE_RATE_HZ, rate_hz)
    buffer = io.BytesIO()
    with uninterrupted():
        soundfile.write(buffer, samples, rate_hz, **container)
        buffer.seek(0)
        coded, coded_hz = soundfile.read(buffer, dtype="float32")
    heard = _resampled(coded, coded_hz, SAMPLE_RATE_HZ)[: len(waveform)]
    # A rate of 8 kHz has no half a sample, and a decoder may end a few early.
    return torch.from_numpy(np.pad(heard, (0, len(waveform) - len(heard)))) * peak


def _resampled(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    return samples if from_hz == to_hz else soxr.resample(samples, from_hz, to_hz)
