"""Audio files and bytes to mono float32, at 16 kHz unless asked otherwise, and back; refuses what is not audio.

Long files are decoded, mixed down and resampled block by block, so that the peak memory is the result itself
(64 kB a second of audio, 0.69 GB for three hours), not a multiple of it. Knows nothing of frames or tokens.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from amalia_mm.audio.truncation import FETCH_AGAIN, check_whole
from amalia_mm.audio.uninterrupted import uninterrupted
from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ

_CONTAINERS = ("WAV", "WAVEX", "RF64", "FLAC", "MP3", "OGG")
_WANTED = "audio as wav, flac, mp3, ogg or opus"
_CONVERT = "check the file by listening to it, or convert it to wav or flac"
_BLOCK_VALUES = (
    1 << 17
)  # floats decoded at a time over all channels: 0.5 MB, which stay in a processor's cache
_RATES_HZ = range(1_000, 768_001)  # a header outside it is damaged, and resampling it would fill the memory
_MAX_KNOWN_FRAMES = 1 << 62  # libsndfile's "unknown" is 2**63 - 1
_HAS_MEMFD = hasattr(os, "memfd_create")  # Linux
_INTEGERS = (
    "PCM_S8",
    "PCM_U8",
    "PCM_16",
    "PCM_24",
    "PCM_32",
    "ULAW",
    "ALAW",
)  # they hold finite numbers only
_MP3_SLACK_FRAMES = 2 * 1152  # the lengths in MP3 headers are good to a codec frame or two, not to the sample


def load_audio(
    source: Path | str | bytes,
    *,
    where: str = "",
    max_seconds: float | None = None,
    channel: int | None = None,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> Tensor:
    """Return the sound of a file as (n) float32, mono, at 16 kHz or the rate that is asked for.

    Channels are averaged, or one is chosen. Peaks beyond 1 that lossy codecs give are kept. Rates are converted by
    soxr at its high quality.

    Args:
        source: A path, or the bytes of a file.
        where: What to call the source in errors; the path where empty.
        max_seconds: Refuse longer audio before decoding it.
        channel: The one to hear, counted from 0; None is the mean of all.
        sample_rate_hz: Of the waveform that is returned: 16 kHz to hear, a voice's own to speak.

    Raises:
        InputError: The file is missing, empty, truncated, not audio, without a sample, longer than
            `max_seconds`, has samples that are not finite numbers, or fewer channels.
    """
    where = where or (f"audio of {len(source)} bytes" if isinstance(source, bytes) else str(source))
    with _opened(source, where) as (sound, promised):
        if max_seconds is not None and promised is not None:
            _check_seconds(promised / sound.samplerate, max_seconds, where)
        blocks = _mono(_blocks(sound, promised, where, max_seconds), channel, where)
        blocks = _resampled(blocks, sound.samplerate, sample_rate_hz)
        samples = _joined(blocks, sound.samplerate, promised, sample_rate_hz)
    _check_not_empty(len(samples), where)
    return torch.from_numpy(samples)


def audio_blocks(path: Path | str, *, channel: int | None = None) -> Iterator[Tensor]:
    """Yield the sound of a file as `load_audio` returns it, in blocks (n): hours of it take the memory of a block.

    Args:
        path: The file.
        channel: As `load_audio`.

    Raises:
        InputError: As `load_audio`; damage inside the file when it is reached.
    """
    where, num_samples = str(path), 0
    with _opened(path, where) as (sound, promised):
        for block in _resampled(_mono(_blocks(sound, promised, where), channel, where), sound.samplerate):
            num_samples += len(block)
            yield torch.from_numpy(block)
    _check_not_empty(num_samples, where)


def channel_blocks(source: Path | str | bytes) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the sound of a file in blocks (n c) float32, its channels apart, and its own sample rate in Hz.

    Raises:
        InputError: As `audio_blocks`.
    """
    where = f"audio of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    with _opened(source, where) as (sound, promised):
        for block in _blocks(sound, promised, where):
            yield block, sound.samplerate


def num_channels(source: Path | str | bytes) -> int:
    """Return how many channels a file has; errors as `load_audio`, of what its header tells."""
    where = f"audio of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    with _opened(source, where) as (sound, _):
        return sound.channels


def own_rate_hz(source: Path | str | bytes, *, where: str = "") -> int:
    """Return the sample rate that a file has itself, in Hz; errors as `load_audio`, of what its header tells."""
    where = where or (f"audio of {len(source)} bytes" if isinstance(source, bytes) else str(source))
    with _opened(source, where) as (sound, _):
        return sound.samplerate


def audio_seconds(path: Path | str) -> float:
    """Return the duration of a file in seconds, from its header where the header tells it.

    Raises:
        InputError: As `load_audio`; damage after the header is found only where the header disagrees with the
            size of the file.
    """
    where = str(path)
    with _opened(path, where) as (sound, promised):
        if promised is None:
            promised = sum(len(block) for block in _blocks(sound, None, where))
        return promised / sound.samplerate


def write_audio(path: Path | str, waveform: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """Write a waveform (n) as 16-bit wav or flac, by the ending of the path.

    A clip whose peak is beyond 1 is scaled down as a whole to a peak of 1: 16 bits hold no more, and cutting
    the peaks would be heard.

    Raises:
        ValueError: Another ending, a shape other than (n), no sample, or samples that are not finite.
        OSError: The file cannot be written.
    """
    path = Path(path)
    container = {".wav": "WAV", ".flac": "FLAC"}.get(path.suffix.lower())
    if container is None:
        raise ValueError(f"audio is written as .wav or .flac, not {path.suffix!r}: {path}")
    path.write_bytes(_encode(waveform, sample_rate_hz, container))


def encode_flac(waveform: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """Return a waveform (n) as the bytes of a 16-bit flac file; peaks and errors as `write_audio`."""
    return _encode(waveform, sample_rate_hz, "FLAC")


def encode_wav(waveform: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """Return a waveform (n) as the bytes of a 16-bit wav file; peaks and errors as `write_audio`."""
    return _encode(waveform, sample_rate_hz, "WAV")


def _encode(waveform: Tensor, sample_rate_hz: int, container: str) -> bytes:
    if waveform.ndim != 1 or waveform.numel() == 0:
        raise ValueError(f"a waveform to write has shape (n) with n >= 1, not {tuple(waveform.shape)}")
    samples = waveform.detach().to("cpu", torch.float32).numpy()
    if not np.isfinite(samples).all():
        raise ValueError(
            f"{int((~np.isfinite(samples)).sum())} of {samples.size} samples are not finite numbers"
        )
    peak = float(np.abs(samples).max())
    buffer = io.BytesIO()
    with uninterrupted():
        soundfile.write(buffer, samples / max(peak, 1.0), sample_rate_hz, format=container, subtype="PCM_16")
    return buffer.getvalue()


@contextmanager
def _opened(source: Path | str | bytes, where: str) -> Iterator[tuple[soundfile.SoundFile, int | None]]:
    """Yield the open sound and the number of frames its header promises, None where it does not say."""
    with _binary(source, where) as file:
        if file.seek(0, os.SEEK_END) == 0:
            raise InputError(
                where, found="an empty file (0 bytes)", wanted=_WANTED, remedy="remove or replace it"
            )
        says_its_length = check_whole(file, where)
        file.seek(0)
        # A file descriptor instead of a path: soundfile guesses the format of some paths by their ending.
        handle = file if isinstance(file, io.BytesIO) else file.fileno()
        try:
            sound = soundfile.SoundFile(handle, closefd=False)
        except (soundfile.LibsndfileError, TypeError) as error:
            raise InputError(where, found=_reason(error), wanted=_WANTED, remedy=_CONVERT) from error
        with sound:
            _check_header(sound, where)
            known = says_its_length and sound.frames < _MAX_KNOWN_FRAMES
            yield sound, sound.frames if known else None


@contextmanager
def _binary(source: Path | str | bytes, where: str) -> Iterator[io.BytesIO | io.FileIO]:
    if isinstance(source, bytes):
        if not _HAS_MEMFD:
            with uninterrupted():  # libsndfile reads them, which are a record and short, through callbacks
                yield io.BytesIO(source)
            return
        # A file in memory: libsndfile reads it by itself, without a call into Python for every few kilobytes.
        with os.fdopen(os.memfd_create("audio"), "r+b", buffering=0) as file:
            left = memoryview(source)
            while left:
                left = left[file.write(left) :]
            yield file
        return
    try:
        # Without a buffer: libsndfile goes on reading where the descriptor, not the buffer, stands.
        with Path(source).open("rb", buffering=0) as file:
            yield file if file.seekable() else io.BytesIO(file.read())
    except OSError as error:
        found = error.strerror or str(error)
        raise InputError(where, found=found, wanted=_WANTED, remedy="check the path") from error


def _check_header(sound: soundfile.SoundFile, where: str) -> None:
    if sound.format not in _CONTAINERS:
        raise InputError(where, field="format", found=sound.format, wanted=_WANTED, remedy=_CONVERT)
    if sound.samplerate not in _RATES_HZ:
        wanted = f"{_RATES_HZ.start} to {_RATES_HZ.stop - 1} Hz"
        raise InputError(where, field="sample rate", found=sound.samplerate, wanted=wanted, remedy=_CONVERT)
    if sound.frames == 0:
        raise InputError(
            where, found="0 samples", wanted="at least one sample", remedy="remove or replace the file"
        )


def _blocks(
    sound: soundfile.SoundFile, promised: int | None, where: str, max_seconds: float | None = None
) -> Iterator[np.ndarray]:
    """Yield the sound in blocks (n c) float32; raise where it ends too early."""
    decoded, problem, may_be_infinite = 0, "", sound.subtype not in _INTEGERS
    block_frames = max(_BLOCK_VALUES // sound.channels, 1)
    while True:
        try:
            block = sound.read(block_frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            problem = f" ({_reason(error)})"
            decoded = max(decoded, sound.tell())  # the block that fails may hold some
            break
        if len(block) == 0:
            break
        if may_be_infinite and not (finite := np.isfinite(block).all(axis=1)).all():
            at_s = (decoded + int(finite.argmin())) / sound.samplerate
            found = f"a sample that is not a finite number, at {at_s:.3f} s"
            raise InputError(where, field="samples", found=found, wanted="finite samples", remedy=_CONVERT)
        decoded += len(block)
        if max_seconds is not None:
            _check_seconds(decoded / sound.samplerate, max_seconds, where)
        yield block
    slack = _MP3_SLACK_FRAMES if sound.format == "MP3" else 0
    if problem or (promised is not None and decoded < promised - slack):
        wanted = (
            "a stream that decodes to its end"
            if promised is None
            else f"the {promised} samples its header promises"
        )
        raise InputError(where, found=f"{decoded} samples{problem}", wanted=wanted, remedy=FETCH_AGAIN)


def _mono(blocks: Iterator[np.ndarray], channel: int | None, where: str) -> Iterator[np.ndarray]:
    """Yield blocks (n) of blocks (n c): one channel, or the mean of all."""
    for block in blocks:
        if channel is not None and channel >= block.shape[1]:
            found, wanted = f"{block.shape[1]} channels", f"{channel + 1} or more"
            remedy = "leave the choice of a channel out"
            raise InputError(where, field="channels", found=found, wanted=wanted, remedy=remedy)
        yield block[:, channel or 0] if block.shape[1] == 1 or channel is not None else block.mean(axis=1)


def _check_not_empty(num_samples: int, where: str) -> None:
    if num_samples == 0:
        raise InputError(
            where, found="0 samples", wanted="at least one sample after resampling", remedy="remove the file"
        )


def _check_seconds(found_s: float, max_seconds: float, where: str) -> None:
    if found_s > max_seconds:
        raise InputError(
            where,
            field="duration",
            found=f"{found_s:.1f} s or more",
            wanted=f"at most {max_seconds:g} s",
            remedy="cut it into shorter files, or raise the limit",
        )


def _resampled(
    blocks: Iterator[np.ndarray], rate_hz: int, wanted_hz: int = SAMPLE_RATE_HZ
) -> Iterator[np.ndarray]:
    """Yield the blocks at the rate that is wanted; together they are what the whole would be, converted at once."""
    if rate_hz == wanted_hz:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate_hz, wanted_hz, 1)
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def _joined(
    blocks: Iterator[np.ndarray], rate_hz: int, promised: int | None, wanted_hz: int = SAMPLE_RATE_HZ
) -> np.ndarray:
    """Return the blocks as one array (n); written in place where the length is known beforehand."""
    expected = 0 if promised is None else promised * wanted_hz // rate_hz + 1
    samples, filled = np.empty(expected, np.float32), 0
    for block in blocks:
        if filled + len(block) > len(samples):
            samples.resize(max(filled + len(block), len(samples) * 3 // 2), refcheck=False)
        samples[filled : filled + len(block)] = block
        filled += len(block)
    return samples[:filled]


def _reason(error: Exception) -> str:
    reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return reason.rstrip(".") or "nothing that decodes"
