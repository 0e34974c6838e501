"""Synthesised speech as a file with a signed manifest inside. A person's own recordings do not go this way."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from amalia_mm.audio.io import encode_flac, encode_wav, load_audio
from amalia_mm.voice.private_files import write_whole
from amalia_mm.voice.provenance import sign
from amalia_mm.voice.watermark import Detection, detect

_ENCODERS = {".wav": encode_wav, ".flac": encode_flac}


def write_speech(
    path: Path, waveform: Tensor, sample_rate_hz: int, signing_folder: Path, consent_id: str = ""
) -> None:
    """Write speech (n) that a model made as a wav or flac file, by the ending of the path, signed.

    Args:
        path: The file.
        waveform: The speech, as `Synthesiser` says it: it carries the mark already.
        sample_rate_hz: Its sample rate.
        signing_folder: Where the bank keeps what signs (`Bank.signing_folder`).
        consent_id: Under which consent it was made (`Opened.consent_id`); "" for a voice that is nobody's.

    Raises:
        ValueError: Another ending, or what `encode_wav` refuses.
        InputError: The file or what signs it cannot be written.
    """
    encode = _ENCODERS.get(path.suffix.lower())
    if encode is None:
        raise ValueError(f"speech is written as .wav or .flac, not {path.suffix!r}: {path}")
    content = sign(encode(waveform, sample_rate_hz), signing_folder, consent_id)
    write_whole(path, content)


def detect_file(path: Path) -> Detection:
    """Return whether a recording carries the mark; errors as `load_audio`."""
    return detect(load_audio(path))
