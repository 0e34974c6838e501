"""Writing and indexing folders of WebDataset tar shards; the door to all that is done with a folder.

Tars are written by webdataset and stay readable by its sequential reader; the index beside them is ours. It
knows nothing of tokens, order or models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from amalia_mm.audio.io import load_audio, own_rate_hz
from amalia_mm.data.index import INDEX_NAME, Entry, Shard, ShardIndex, local_folder, read_record, save_index
from amalia_mm.data.schema import AUDIO_SUFFIXES, Record, validate
from amalia_mm.data.tars import Members, members_of, sha256
from amalia_mm.data.tokens import TokenCounts, index_tokens
from amalia_mm.data.verify import Stats, Verified, stats, verify
from amalia_mm.errors import InputError, writing

__all__ = [
    "ShardIndex",
    "ShardWriter",
    "Stats",
    "TokenCounts",
    "Verified",
    "index_folder",
    "index_tokens",
    "read_record",
    "stats",
    "verify",
]


class _Tar(Protocol):
    """What is used of webdataset's writer."""

    def write(self, obj: dict[str, object]) -> int: ...
    def close(self) -> None: ...


class ShardWriter:
    """Writes records into numbered tars of a folder; as a context manager all of it appears, or nothing.

    Every record is checked and every clip decoded before it is written, so that what is in a shard can be
    read. The same records give the same bytes.

    Args:
        folder: A new or empty folder; made if it is not there.
        max_records: Records of a tar before the next one begins.
        max_bytes: Bytes of a tar before the next one begins.
        max_seconds: Longer clips are refused: they must be cut at pauses first.

    Raises:
        InputError: The folder holds shards already, a record or clip is bad, an id comes twice, or the disk
            is full.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        max_records: int = 10_000,
        max_bytes: int = 1 << 30,
        max_seconds: float = 600.0,
    ) -> None:
        if max_records < 1 or max_bytes < 1:
            raise ValueError(f"max_records {max_records} and max_bytes {max_bytes} must be at least 1")
        self.folder = local_folder(folder)
        self._max_records, self._max_bytes, self._max_seconds = max_records, max_bytes, max_seconds
        self._shards: list[Shard] = []
        self._entries: list[list[Entry]] = []
        self._pending: list[tuple[Record, int, int]] = []
        self._ids: set[str] = set()
        self._file: BinaryIO | None = None
        self._tar: _Tar | None = None
        if (self.folder / INDEX_NAME).exists():
            remedy = "delete that folder or choose another one"
            raise InputError(self.folder, found="shards", wanted="a new or empty folder", remedy=remedy)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for left_over in (*self.folder.glob("shard-*.tar"), *self.folder.glob(".shard-*.part")):
                left_over.unlink()

    def write(
        self,
        record: Record | Mapping[str, object],
        audio: bytes | None = None,
        suffix: str = "flac",
        num_samples: int | None = None,
    ) -> None:
        """Add one record, and the encoded clip that stands beside it (`suffix` says its format).

        `num_samples` are those of the clip at 16 kHz, where the caller has just encoded it; without them it is
        decoded, to count them and to see that it can be. A clip is kept as it is given, at its own rate.
        """
        where = f"{self.folder}: record {len(self._ids)}"
        fields = record.to_json() if isinstance(record, Record) else record
        checked = validate(fields, where, has_audio=audio is not None)
        where = f"{self.folder}: record {checked.id}"
        if checked.id in self._ids:
            remedy = "give every record of a folder its own id"
            raise InputError(where, field="id", found="the same id twice", wanted="unique ids", remedy=remedy)
        if audio is not None and suffix not in AUDIO_SUFFIXES:
            raise ValueError(f"suffix {suffix!r} is not one of {', '.join(AUDIO_SUFFIXES)}")
        if audio is None:
            num_samples = 0
        elif num_samples is None:
            num_samples = len(load_audio(audio, where=where, max_seconds=self._max_seconds))
        members: dict[str, object] = {"__key__": f"{len(self._ids):08d}"}
        members["json"] = json.dumps(checked.to_json(), ensure_ascii=False).encode()
        if audio is not None:
            members[suffix] = audio
        with writing(self.folder):
            if self._tar is None or self._file is None:
                self._open()
            assert self._tar is not None and self._file is not None
            self._tar.write(members)
            self._ids.add(checked.id)
            rate_hz = 0 if audio is None else own_rate_hz(audio, where=where)
            self._pending.append((checked, num_samples, rate_hz))
            if len(self._pending) >= self._max_records or self._file.tell() >= self._max_bytes:
                self._close_tar()

    def close(self) -> None:
        """Finish the last tar and write the index."""
        with writing(self.folder):
            self._close_tar()
            save_index(self.folder, self._shards, self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self.close()
            except BaseException:
                self._discard()
                raise
        else:
            self._discard()

    def _open(self) -> None:
        from webdataset.writer import TarWriter  # heavy, and not needed to read

        self._file = self._part.open("wb")
        # A whole number of seconds: a fraction would cost two more blocks for every member.
        self._tar = TarWriter(self._file, encoder=False, mtime=0)

    @property
    def _name(self) -> str:
        return f"shard-{len(self._shards):06d}.tar"

    @property
    def _part(self) -> Path:
        return self.folder / f".{self._name}.part"

    def _close_tar(self) -> None:
        if self._tar is None or self._file is None:
            return
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        part, name = self._part, self._name
        members = list(members_of(part))
        entries = [_entry(m, *pending) for m, pending in zip(members, self._pending, strict=True)]
        shard = Shard(name, sha256(part), part.stat().st_size, len(entries))
        part.replace(self.folder / name)
        self._shards.append(shard)
        self._entries.append(entries)
        self._pending, self._tar, self._file = [], None, None

    def _discard(self) -> None:
        # Tars without an index are of no use to anybody, and a full disk wants its room back.
        with suppress(OSError, ValueError):
            if self._tar is not None:  # left open, it would write to a closed file when it is collected
                self._tar.close()
        if self._file is not None:
            self._file.close()
        self._part.unlink(missing_ok=True)
        for shard in self._shards:
            (self.folder / shard.name).unlink(missing_ok=True)


def _entry(members: Members, record: Record, num_samples: int, rate_hz: int) -> Entry:
    return Entry(
        key=members.key,
        id=record.id,
        json_offset=members.json_offset,
        json_bytes=members.json_bytes,
        audio_offset=members.audio_offset,
        audio_bytes=members.audio_bytes,
        num_samples=num_samples,
        suffix=members.suffix,
        task=record.task,
        source=record.source,
        speaker=record.speaker,
        variety=record.variety.value,
        rate_hz=rate_hz,
    )


def index_folder(folder: Path | str) -> ShardIndex:
    """Return the index of a folder of tars made elsewhere, after writing it beside them.

    Raises:
        InputError: There is no tar, a tar is cut, or a record or clip in it is bad.
    """
    folder = local_folder(folder)
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise InputError(folder, found="no tar", wanted="a folder of .tar shards", remedy="check the path")
    shards, entries = [], []
    for path in paths:
        records = [_entry_from_tar(path, members) for members in members_of(path)]
        shards.append(Shard(path.name, sha256(path), path.stat().st_size, len(records)))
        entries.append(records)
    with writing(folder):
        save_index(folder, shards, entries)
    return ShardIndex.load(folder)


def _entry_from_tar(path: Path, members: Members) -> Entry:
    where = f"{path}: record {members.key}"
    with path.open("rb") as file:
        text = os.pread(file.fileno(), members.json_bytes, members.json_offset)
        audio = os.pread(file.fileno(), members.audio_bytes, members.audio_offset)
    try:
        content = json.loads(text)
    except ValueError as error:
        remedy = "write the shard again"
        raise InputError(where, field="json", found=error, wanted="a JSON object", remedy=remedy) from error
    record = validate(content, where, has_audio=members.audio_bytes > 0)
    if not audio:
        return _entry(members, record, 0, 0)
    return _entry(members, record, len(load_audio(audio, where=where)), own_rate_hz(audio, where=where))
