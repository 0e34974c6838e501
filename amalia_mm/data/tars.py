"""Where the members of each record lie in a tar, read from its headers alone."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from amalia_mm.data.schema import AUDIO_SUFFIXES
from amalia_mm.errors import InputError

_MOST_PADDING_BYTES = 1 << 20


class Members(NamedTuple):
    """Where the members of one record lie in a tar; sizes of 0 are members that are not there."""

    key: str
    json_offset: int
    json_bytes: int
    audio_offset: int = 0
    audio_bytes: int = 0
    suffix: str = ""


def members_of(path: Path) -> Iterator[Members]:
    """Yield the records of a tar in order; members of one record stand together, as webdataset wants."""
    files: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                match = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]*)", member.name)
                if member.isfile() and match:
                    files.setdefault(match[1], {})[match[2]] = member
            _check_end(path, tar.offset)
    except (tarfile.TarError, OSError) as error:
        remedy = "copy the shard again, or write it again from its source"
        raise InputError(path, found=str(error) or "no tar", wanted="a whole tar", remedy=remedy) from error
    for key, members in files.items():
        record = members.get("json")
        if record is None:
            remedy = "write the shard again: each record needs a JSON member"
            found = ", ".join(sorted(members))
            raise InputError(
                f"{path}: record {key}", field="json", found=found, wanted="a .json", remedy=remedy
            )
        place = Members(key, record.offset_data, record.size)
        for suffix in AUDIO_SUFFIXES:
            if suffix in members:
                audio = members[suffix]
                place = place._replace(audio_offset=audio.offset_data, audio_bytes=audio.size, suffix=suffix)
        yield place


def _check_end(path: Path, offset: int) -> None:
    """Raise where the members end in anything but empty blocks.

    The tar library stops without a word at a damaged header, and at the end of a tar cut between two members.
    """
    with path.open("rb") as file:
        file.seek(offset)
        rest = file.read(_MOST_PADDING_BYTES)
    if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
        found = "damage" if rest else "the end of the file, and not of the archive,"
        raise tarfile.ReadError(f"{found} at byte {offset}")


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
