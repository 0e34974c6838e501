"""Recordings to mix in or to convolve with, found in files, folders and tar shards, decoded once and kept.

They are numbered in the order of their paths, so that a number drawn means the same one on every machine.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from amalia_mm.audio.io import load_audio
from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ

_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
_MOST_KEPT = 64


class Place(NamedTuple):
    """A file, or a piece of a tar."""

    path: str
    offset: int = 0
    num_bytes: int = 0
    """0 is the whole file."""


@dataclass(frozen=True)
class Sounds:
    """Recordings by number; `InputError` where there is none, or one cannot be decoded."""

    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(_places(self.paths))

    @property
    def names(self) -> tuple[str, ...]:
        """Their files, in order."""
        return tuple(place.path for place in _places(self.paths))

    def load(self, number: int) -> Tensor:
        """Return a recording (n) float32 at 16 kHz, channels averaged; it is shared, so nobody may change it."""
        return _mono(_places(self.paths)[number])

    def load_first_channel(self, number: int) -> Tensor:
        """Return the first channel (n) of a recording: the average of microphones apart is no room."""
        return _first_channel(_places(self.paths)[number])


@lru_cache(maxsize=8)
def _places(paths: tuple[str, ...]) -> tuple[Place, ...]:
    found = tuple(place for path in paths for place in _below(Path(path)))
    if not found:
        raise InputError(
            ", ".join(paths) or "paths",
            found="no recording",
            wanted=f"files ({', '.join(_SUFFIXES)}), folders of them, or folders of tar shards",
            remedy="check the paths",
        )
    return found


def _below(path: Path) -> Iterator[Place]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
    for file in files:
        if file.suffix.lower() in _SUFFIXES:
            yield Place(str(file))
        elif file.suffix == ".tar":
            yield from _in_tar(file)


def _in_tar(path: Path) -> Iterator[Place]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith(_SUFFIXES):
                    yield Place(str(path), member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise InputError(path, found=error, wanted="a whole tar", remedy="copy it again") from error


def _bytes(place: Place) -> bytes:
    with Path(place.path).open("rb") as file:
        return os.pread(file.fileno(), place.num_bytes or os.fstat(file.fileno()).st_size, place.offset)


@lru_cache(maxsize=_MOST_KEPT)
def _mono(place: Place) -> Tensor:
    return load_audio(_bytes(place), where=place.path)


@lru_cache(maxsize=_MOST_KEPT)
def _first_channel(place: Place) -> Tensor:
    whole = _mono(place)  # refuses what is damaged
    with soundfile.SoundFile(place.path) if not place.num_bytes else _opened(place) as sound:
        if sound.channels == 1:
            return whole
        samples = sound.read(dtype="float32", always_2d=True)[:, 0]
        return torch.from_numpy(
            np.ascontiguousarray(soxr.resample(samples, sound.samplerate, SAMPLE_RATE_HZ))
        )


def _opened(place: Place) -> soundfile.SoundFile:
    import io

    return soundfile.SoundFile(io.BytesIO(_bytes(place)))
