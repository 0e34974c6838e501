"""Whether the two channels of a file are one scene, which may be mixed, or two speakers, who may not.

A mix of two people who talk at once is nobody's words, and one of channels of opposite sign is silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from amalia_mm.audio.io import channel_blocks, load_audio, num_channels
from amalia_mm.audio.recording import Recording
from amalia_mm.audio.vad import find_speech
from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ, seconds_to_samples

Side = Literal["mix", "left", "right"]
"""What is heard of a file with two channels: their mean, or one of them."""
Channels = Side | Literal["split"]
"""As `Side`, or each of two channels by itself."""
KEEP_ONE = "keep one of them in the file, or leave it out"
"""What can be done where a file has to be heard as it is."""
CHOOSE = "choose --channels left or right for one of them"
"""What can be done where a command has that option."""

_STEP_S = 0.05
_SAME_SCENE = 0.5
"""Of one scene the loudness of both channels rises and falls together, however far apart the microphones are."""
_CANCELLING = -0.5
_LEAST_SPEECH_S = 0.3
_FLOOR = 1e-4
"""The root mean square, -80 dB, below which a step is silence whatever its loudness."""


@dataclass(frozen=True)
class Likeness:
    """How like one another two channels are, each -1 to 1."""

    of_samples: float
    """The correlation of the waveforms: 1 for the same sound twice, -1 for one of them upside down."""
    of_loudness: float
    """The correlation of their loudness in steps of 50 ms."""


def likeness(source: Path | str | bytes) -> Likeness:
    """Return how like the first two channels of a file are; a channel that is silent throughout is like any.

    Raises:
        InputError: As `load_audio`.
    """
    products = np.zeros(3)
    steps: list[np.ndarray] = []
    rest = np.empty((0, 2), np.float32)
    for block, rate_hz in channel_blocks(source):
        size = max(round(_STEP_S * rate_hz), 1)
        pair = np.concatenate([rest, block[:, :2]]).astype(np.float64)
        whole = len(pair) // size * size
        left, right = pair[:whole].T
        products += (left @ right, left @ left, right @ right)
        steps.append(np.square(pair[:whole]).reshape(-1, size, 2).mean(axis=1))
        rest = pair[whole:].astype(np.float32)
    power = np.concatenate(steps) if steps else np.zeros((0, 2))
    loudness = 10 * np.log10(np.maximum(power, _FLOOR**2))
    is_heard = (power > _FLOOR**2).any(axis=1)
    return Likeness(_cosine(*products), _correlation(loudness[is_heard]))


def open_recording(source: Path | str | bytes | Tensor, side: Side | None, min_samples: int = 1) -> Recording:
    """Return a source to be read.

    Args:
        source: A file, the bytes of one, or a waveform (n).
        side: What is heard of two channels; None: their mean, unless they are two speakers.
        min_samples: The fewest at 16 kHz that are of any use.

    Raises:
        InputError: As `load_audio`, `check_channels` and where it is too short.
    """
    if side is None and not isinstance(source, Tensor):
        check_channels(source)
    recording = Recording(source, _number(side))
    if recording.num_samples < min_samples:
        raise InputError(
            str(source) if isinstance(source, (str, Path)) else "audio",
            found=f"{recording.num_samples} samples",
            wanted=f"at least {min_samples} samples, one audio token",
            remedy="give a longer recording",
        )
    return recording


def load_scene(
    source: Path | str | bytes,
    side: Side | None = None,
    *,
    where: str = "",
    max_seconds: float | None = None,
    remedy: str = KEEP_ONE,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> Tensor:
    """Return the sound of a file (n) as `load_audio` does, where its channels may be mixed, or of the side chosen.

    Args:
        source: A file, or the bytes of one.
        side: What is heard of two channels; None: their mean, unless they are two speakers.
        where: As `load_audio`.
        max_seconds: As `load_audio`.
        remedy: As `check_channels`.
        sample_rate_hz: As `load_audio`.

    Raises:
        InputError: As `load_audio` and `check_channels`.
    """
    waveform = load_audio(
        source, where=where, max_seconds=max_seconds, channel=_number(side), sample_rate_hz=sample_rate_hz
    )
    if side is None:
        check_channels(source, where=where, remedy=remedy)
    return waveform


def sides_of(source: Path | str | bytes | Tensor, channels: Channels | None) -> tuple[Side | None, ...]:
    """Return what is heard of a source, one after the other: both sides of two channels that are split.

    Raises:
        InputError: It is to be split and has not two channels; or as `load_audio`.
    """
    if channels != "split":
        return (channels,)
    found = 1 if isinstance(source, Tensor) else num_channels(source)
    if found == 2:
        return ("left", "right")
    where = str(source) if isinstance(source, (str, Path)) else "audio"
    remedy = "leave --channels split out"
    raise InputError(where, field="channels", found=found, wanted="2 to split", remedy=remedy)


def check_channels(source: Path | str | bytes, *, where: str = "", remedy: str = "") -> None:
    """Raise `InputError` for a file whose two channels are two speakers, or cancel one another.

    One channel, more than two, and two of one scene pass; so do two of which one has no speech.

    Args:
        source: A file, or the bytes of one.
        where: What to call it in errors; the path where empty.
        remedy: What can be done; where empty, what the options of transcription do.
    """
    if num_channels(source) != 2:
        return
    where = where or (str(source) if isinstance(source, (str, Path)) else f"audio of {len(source)} bytes")
    found = likeness(source)
    if found.of_samples < _CANCELLING:
        raise InputError(
            where,
            field="channels",
            found=f"two of opposite sign (correlation {found.of_samples:.2f}), which cancel when they are mixed",
            wanted="channels that may be mixed",
            remedy=remedy or CHOOSE,
        )
    if found.of_loudness >= _SAME_SCENE or not all(_has_speech(source, channel) for channel in (0, 1)):
        return
    raise InputError(
        where,
        field="channels",
        found=f"speech in both, at times of its own (loudness correlates {found.of_loudness:.2f}): two speakers",
        wanted="one scene",
        remedy=remedy or f"{CHOOSE}, or mix; `amalia transcribe --channels split` writes down each",
    )


def _number(side: Side | None) -> int | None:
    """Return the channel that is meant, counted from 0; None for the mean."""
    return ("left", "right").index(side) if side in ("left", "right") else None


def _has_speech(source: Path | str | bytes, channel: int) -> bool:
    recording = Recording(source, channel)
    return sum(each.num_samples for each in find_speech(recording)) >= seconds_to_samples(_LEAST_SPEECH_S)


def _cosine(product: float, left: float, right: float) -> float:
    return float(product / np.sqrt(left * right)) if left > 0 and right > 0 else 1.0


def _correlation(pairs: np.ndarray) -> float:
    """Return Pearson's correlation of pairs (n 2); 1 where one side does not change."""
    centred = pairs - pairs.mean(axis=0) if len(pairs) else pairs
    left, right = centred.T
    return _cosine(float(left @ right), float(left @ left), float(right @ right))
