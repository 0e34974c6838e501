"""Synthesised speech as a file with a signed manifest inside. A person's own recordings do not go this way.

It is written as it is made: an hour of it takes the memory of a piece. How loud the loudest sample is, and so by what
all are divided, is known at the end alone; until then they lie beside it in a file without a name.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from torch import Tensor

from amalia_mm.audio.io import load_audio
from amalia_mm.errors import writing
from amalia_mm.voice.private_files import nameless, whole_file
from amalia_mm.voice.provenance import sign_file
from amalia_mm.voice.watermark import Detection, detect

_CONTAINERS = {".wav": "WAV", ".flac": "FLAC"}
_BLOCK_SAMPLES = 1 << 18


def write_speech(
    path: Path,
    speech: Tensor | Iterable[Tensor],
    sample_rate_hz: int,
    signing_folder: Path,
    consent_id: str = "",
) -> int:
    """Write speech that a model made as a signed wav or flac file of 16 bits, and return how many samples it has.

    Peaks beyond 1 are scaled down with all the rest, as `write_audio` does.

    Args:
        path: The file, by whose ending its format is chosen.
        speech: (n), or pieces of it as they are made, as `Synthesiser` says it: it carries the mark already.
        sample_rate_hz: Its sample rate.
        signing_folder: Where the bank keeps what signs (`Bank.signing_folder`).
        consent_id: Under which consent it was made (`Opened.consent_id`); "" for a voice that is nobody's.

    Raises:
        ValueError: Another ending, no sample, or samples that are not finite.
        InputError: The file or what signs it cannot be written; nothing of the file is left, an earlier one stays.
    """
    container = _CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise ValueError(f"speech is written as .wav or .flac, not {path.suffix!r}: {path}")
    pieces = [speech] if isinstance(speech, Tensor) else speech
    with writing(path.parent), nameless(path.parent) as encoded:
        with nameless(path.parent) as raw:
            num_samples, peak = _keep(pieces, raw)
            _encode(raw, encoded, sample_rate_hz, container, peak)
        with whole_file(path) as signed:
            sign_file(encoded, signed, signing_folder, consent_id)
    return num_samples


def _keep(pieces: Iterable[Tensor], raw: BinaryIO) -> tuple[int, float]:
    """Write pieces (n) as they come as float32; return how many samples they have and the highest peak."""
    num_samples, peak = 0, 0.0
    for piece in pieces:
        samples = piece.detach().to("cpu").float().numpy()
        if not np.isfinite(samples).all():
            found = int((~np.isfinite(samples)).sum())
            raise ValueError(f"{found} of {samples.size} samples are not finite numbers")
        raw.write(samples.tobytes())
        num_samples += len(samples)
        peak = max(peak, float(np.abs(samples).max(initial=0.0)))
    if not num_samples:
        raise ValueError("speech to write has no sample")
    return num_samples, peak


def _encode(raw: BinaryIO, encoded: BinaryIO, sample_rate_hz: int, container: str, peak: float) -> None:
    raw.seek(0)
    how = {"samplerate": sample_rate_hz, "channels": 1, "subtype": "PCM_16", "format": container}
    try:
        # By its descriptor: libsndfile writes by itself, and Ctrl-C strikes between blocks.
        with soundfile.SoundFile(encoded.fileno(), "w", **how, closefd=False) as sound:
            while block := raw.read(4 * _BLOCK_SAMPLES):
                sound.write(np.frombuffer(block, np.float32) / max(peak, 1.0))
    except soundfile.LibsndfileError as error:
        # It keeps to itself why it could not write.
        reason = error.error_string.rstrip(".")
        raise OSError(errno.EIO, f"no room, or a disk that fails ({reason})") from error


def detect_file(path: Path) -> Detection:
    """Return whether a recording carries the mark; errors as `load_audio`."""
    return detect(load_audio(path))
