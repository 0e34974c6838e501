"""Files for one person's eyes: readable by their owner alone, whole or not there at all.

What is written goes into a file beside its place first, onto the disk, and then takes the place at once: a full disk or
a lost plug leaves the earlier file, or none.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from amalia_mm.errors import InputError, writing

WRITING = ".writing"
"""The ending of a file that is not finished; its name begins with a dot and the name it will have."""
_OWNER_ALONE, _ANYBODY = 0o600, 0o666


def private_folder(folder: Path) -> Path:
    """Return the folder, made where it is missing with those above it, and closed to everybody but its owner."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *missing):
            place.chmod(0o700)
    return folder


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read (mode 600), whole or not at all.

    Until it is whole it has no name where the system allows that: a process that is killed leaves nothing behind.

    Raises:
        InputError: The disk is full, or the folder must not be written; nothing of the file is left.
    """
    private_folder(path.parent)
    with writing(path.parent), nameless(path.parent) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        _take_place(file, path, _OWNER_ALONE)
        _sync_folder(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that anybody may read, whole or not at all; errors as `whole_file`."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that anybody may read, to be written; it takes its place at once where nothing was raised.

    Until then it has no name where the system allows that: a process that is killed leaves nothing behind.

    Raises:
        InputError: The disk is full, the folder is not there or must not be written, or the place is a folder's.
    """
    with writing(path.parent):
        for left in unfinished(path):
            left.unlink()
        with nameless(path.parent) as file:
            yield file
            file.flush()
            _take_place(file, path, _ANYBODY)


def nameless(folder: Path) -> BinaryIO:
    """Return a new file in a folder that is gone when it is closed, or whenever this process ends."""
    if hasattr(os, "O_TMPFILE"):
        with suppress(OSError):  # a file system that has none
            return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    try:
        return tempfile.TemporaryFile(dir=folder)  # pyright: ignore[reportReturnType]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error  # not a name that nobody gave


def check_place(path: Path) -> None:
    """Raise `InputError` where a file cannot be written, before anything is done for it."""
    with writing(path.parent):
        nameless(path.parent).close()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _take_place(file: BinaryIO, path: Path, mode: int) -> None:
    """Give a file without a name the place of a path, for those whom `mode` lets read it."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}{WRITING}")
    try:
        try:
            # Named by its descriptor; `src_dir_fd` makes Python follow that link.
            descriptor = file.fileno()
            if mode == _OWNER_ALONE:
                os.fchmod(descriptor, mode)  # before it has a name
            os.link(f"/proc/self/fd/{descriptor}", fresh, src_dir_fd=descriptor, follow_symlinks=True)
        except (OSError, NotImplementedError):
            file.seek(0)
            # Created for the owner alone: a mode that is set afterwards leaves a moment in which others may read.
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as named:
                shutil.copyfileobj(file, named)
                named.flush()
                os.fsync(named.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def check_new_folder(folder: Path) -> None:
    """Raise `InputError` where there is something already."""
    if folder.exists():
        remedy = "choose another, or remove it first"
        raise InputError(folder, found="something there", wanted="a new folder", remedy=remedy)


def write_private_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by name into a new folder that only its owner may read, whole or not at all.

    What a process that was killed has left of this folder is erased first.

    Raises:
        InputError: The disk is full, or the place must not be written; nothing of the folder is left.
    """
    for left in unfinished(folder):
        erase(left)
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{WRITING}")
    try:
        private_folder(fresh)
        for name, content in files.items():
            write_private(fresh / name, content)
        with writing(folder.parent):
            fresh.rename(folder)
    finally:
        if fresh.exists():
            erase(fresh)


def read_private(path: Path, what: str, remedy: str) -> bytes:
    """Return what is in a file; `InputError` with what was wanted and what to do where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, found=error.strerror or str(error), wanted=what, remedy=remedy) from error


def unfinished(path: Path) -> list[Path]:
    """Return what an interrupted writing of this file has left."""
    return sorted(
        found
        for found in path.parent.glob(f".*{WRITING}")
        if found.name.removeprefix(".").rsplit(".", 2)[0] == path.name
    )


def erase(path: Path) -> None:
    """Remove a file or a folder and overwrite what was in it first.

    Overwriting is what a program can do: a disk that writes elsewhere, or a backup, may keep the old bytes. Of a voice
    pack they are encrypted.
    """
    with writing(path.parent):
        if path.is_dir() and not path.is_symlink():
            for inside in path.iterdir():
                erase(inside)
            path.rmdir()
            return
        if path.is_file() and not path.is_symlink():
            with path.open("r+b") as file:
                _overwrite(file.fileno(), path.stat().st_size)
        path.unlink()
        _sync_folder(path.parent)


def _overwrite(descriptor: int, num_bytes: int) -> None:
    nothing = bytes(min(num_bytes, 1 << 20))
    while num_bytes > 0:
        num_bytes -= os.write(descriptor, nothing[:num_bytes])
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Bring a new or removed name onto the disk; only POSIX lets a folder be opened for it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
