"""The index of a folder of shards, and reading one record by (shard, offset) with plain file reads.

`index.json` says for each tar its name, sha256 and size, and for each record where its members lie. It knows
nothing of tokens, order or models.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from amalia_mm.data.schema import Record, validate
from amalia_mm.errors import InputError

INDEX_NAME = "index.json"
INDEX_VERSION = 1

_STRINGS = ("key", "id")
_OFFSETS = ("json_offset", "json_bytes", "audio_offset", "audio_bytes")
_INTEGERS = (*_OFFSETS, "num_samples")
_LATER_INTEGERS = ("rate_hz",)
"""Columns that indices of earlier versions lack; there they are 0."""
_CODED = ("suffix", "task", "source", "speaker", "variety")

Integers = npt.NDArray[np.int64]


class Entry(NamedTuple):
    """Where one record lies in its tar, and what the order needs to know of it."""

    key: str
    id: str
    json_offset: int
    json_bytes: int
    audio_offset: int
    audio_bytes: int
    num_samples: int
    """Samples of the decoded clip at 16 kHz, whatever rate it is kept at; 0 is no audio."""
    suffix: str
    task: str
    source: str
    speaker: str
    variety: str
    rate_hz: int = 0
    """The rate that the clip is kept at; 0 is no audio, or not known."""


class Shard(NamedTuple):
    """One tar of the folder."""

    name: str
    sha256: str
    num_bytes: int
    num_records: int


class Coded(NamedTuple):
    """A column of words that repeat: `values[codes[i]]` is the word of record i."""

    values: tuple[str, ...]
    codes: Integers

    def __getitem__(self, record: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.values[self.codes[record]]

    def counts(self, weights: Integers | None = None) -> dict[str, int]:
        """Return how many records have each word, or the sum of `weights` over them."""
        sums = np.bincount(self.codes, weights=weights, minlength=len(self.values))
        return {value: int(total) for value, total in zip(self.values, sums, strict=True)}


@dataclass(frozen=True)
class ShardIndex:
    """A folder of shards as columns; record i of the folder is row i of every column.

    Args:
        folder: Where the tars lie.
        shards: The tars in order.
        shard_of: (r) the tar of each record.
        integers: (r) each: json_offset, json_bytes, audio_offset, audio_bytes, num_samples, rate_hz.
        strings: key and id of each record.
        coded: suffix, task, source, speaker and variety of each record.
    """

    folder: Path
    shards: tuple[Shard, ...]
    shard_of: Integers
    integers: dict[str, Integers]
    strings: dict[str, list[str]]
    coded: dict[str, Coded]

    def __len__(self) -> int:
        return len(self.shard_of)

    @property
    def num_samples(self) -> Integers:
        """(r) samples of each clip at 16 kHz, at which all is heard and counted; 0 where there is none."""
        return self.integers["num_samples"]

    @property
    def rate_hz(self) -> Integers:
        """(r) the rate that each clip is kept at; 0 where there is none, or where an older index does not say."""
        return self.integers["rate_hz"]

    @property
    def fingerprint(self) -> str:
        """The sha256 of all the tars' sha256, in order."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    def where(self, record: int) -> str:
        """Return the tar and key of a record, as errors name it."""
        return f"{self.path(record)}: record {self.strings['key'][record]}"

    def path(self, record: int) -> str:
        """Return the tar of a record."""
        return self._paths[self.shard_of[record]]

    @cached_property
    def _paths(self) -> tuple[str, ...]:
        return tuple(str(self.folder / shard.name) for shard in self.shards)

    @classmethod
    def load(cls, folder: Path | str) -> ShardIndex:
        """Return the index of a folder after checking that its tars are there at their full size.

        Raises:
            InputError: The folder is remote, it or its index is missing, the index is not one, or a tar is
                missing or of another size than when it was written (cut in half, for instance).
        """
        path = local_folder(folder) / INDEX_NAME
        if not path.is_file():
            raise InputError(
                path,
                found="no index",
                wanted="the index of a folder of shards",
                remedy=f"write the shards again; for tars made elsewhere run `amalia shards index {folder}`",
            )
        try:
            content = json.loads(path.read_text("utf-8"))
            return _from_json(path.parent, content)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise InputError(
                path,
                found=f"{type(error).__name__}: {error}",
                wanted="an index as `amalia shards` writes it",
                remedy=f"delete it and run `amalia shards index {folder}`",
            ) from error


def local_folder(folder: Path | str) -> Path:
    """Return the folder as a path; a remote address raises `InputError` that says to copy it first."""
    if "://" in str(folder):
        remedy = "copy the shards to a local folder first, and give that"
        raise InputError(str(folder), found="a remote address", wanted="a local folder", remedy=remedy)
    return Path(folder)


def save_index(folder: Path, shards: Sequence[Shard], entries: Sequence[Sequence[Entry]]) -> None:
    """Write `index.json` of a folder, whole or not at all."""
    rows = [
        {
            "name": shard.name,
            "sha256": shard.sha256,
            "bytes": shard.num_bytes,
            "num_records": shard.num_records,
            "records": _columns(records),
        }
        for shard, records in zip(shards, entries, strict=True)
    ]
    text = json.dumps({"version": INDEX_VERSION, "shards": rows}, ensure_ascii=False, separators=(",", ":"))
    temporary = folder / f".{INDEX_NAME}.{os.getpid()}"
    temporary.write_text(text + "\n", "utf-8")
    temporary.replace(folder / INDEX_NAME)


def _columns(records: Sequence[Entry]) -> dict[str, object]:
    plain = _STRINGS + _INTEGERS + _LATER_INTEGERS
    columns: dict[str, object] = {name: [getattr(entry, name) for entry in records] for name in plain}
    for name in _CODED:
        words = [getattr(entry, name) for entry in records]
        values = sorted(set(words))
        number = {value: code for code, value in enumerate(values)}
        columns[name] = {"values": values, "codes": [number[word] for word in words]}
    return columns


def _from_json(folder: Path, content: dict[str, Any]) -> ShardIndex:
    if content.get("version") != INDEX_VERSION:
        raise InputError(
            folder / INDEX_NAME,
            field="version",
            found=content.get("version"),
            wanted=str(INDEX_VERSION),
            remedy=f"delete it and run `amalia shards index {folder}`",
        )
    rows = content["shards"]
    shards = tuple(Shard(row["name"], row["sha256"], row["bytes"], row["num_records"]) for row in rows)
    for shard in shards:
        _check_size(folder, shard)
    sizes = np.array([shard.num_records for shard in shards], dtype=np.int64)
    records = [row["records"] for row in rows]
    for columns in records:
        for name in _LATER_INTEGERS:
            columns.setdefault(name, [0] * len(columns["num_samples"]))
    index = ShardIndex(
        folder=folder,
        shards=shards,
        shard_of=np.repeat(np.arange(len(shards), dtype=np.int64), sizes),
        integers={
            name: _joined([columns[name] for columns in records]) for name in _INTEGERS + _LATER_INTEGERS
        },
        strings={name: [word for columns in records for word in columns[name]] for name in _STRINGS},
        coded={name: _joined_codes([columns[name] for columns in records]) for name in _CODED},
    )
    lengths = {len(column) for column in (*index.integers.values(), *index.strings.values())}
    lengths |= {len(column.codes) for column in index.coded.values()}
    if lengths != {len(index)}:
        raise ValueError(f"columns of {sorted(lengths)} rows for {len(index)} records")
    return index


def _check_size(folder: Path, shard: Shard) -> None:
    path = folder / shard.name
    found = path.stat().st_size if path.is_file() else None
    if found != shard.num_bytes:
        raise InputError(
            path,
            field="size",
            found="no such file" if found is None else f"{found} bytes",
            wanted=f"{shard.num_bytes} bytes, as when it was written",
            remedy="copy the shard again, or write it again from its source",
        )


def _joined(columns: Sequence[Sequence[int]]) -> Integers:
    return np.concatenate(
        [np.asarray(column, dtype=np.int64) for column in columns] or [np.zeros(0, np.int64)]
    )


def _joined_codes(columns: Sequence[dict[str, list[object]]]) -> Coded:
    values = sorted({str(value) for column in columns for value in column["values"]})
    number = {value: code for code, value in enumerate(values)}
    codes = []
    for column in columns:
        renumbered = np.array([number[str(value)] for value in column["values"]], dtype=np.int64)
        codes.append(renumbered[np.asarray(column["codes"], dtype=np.int64)])
    return Coded(tuple(values), np.concatenate(codes or [np.zeros(0, np.int64)]))


def read_record(index: ShardIndex, record: int, *, with_audio: bool = True) -> tuple[Record, bytes | None]:
    """Return one checked record and the bytes of its clip, None where it has none or it is not wanted.

    Raises:
        InputError: The tar cannot be read there, or the record is not what the schema says.
    """
    where = index.where(record)
    json_offset, json_bytes, audio_offset, audio_bytes = (
        int(index.integers[name][record]) for name in _OFFSETS
    )
    try:
        # Opened each time: 10 us beside a clip's decoding, and nothing is shared between processes.
        descriptor = os.open(index.path(record), os.O_RDONLY)
        try:
            text = _read(descriptor, json_offset, json_bytes)
            audio = _read(descriptor, audio_offset, audio_bytes) if with_audio and audio_bytes else None
        finally:
            os.close(descriptor)
        content = json.loads(text.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            where,
            field="json",
            found=f"{type(error).__name__}: {error}",
            wanted="the record that was written there",
            remedy=f"run `amalia shards verify {index.folder}`",
        ) from error
    return validate(content, where, has_audio=audio_bytes > 0), audio


def _read(descriptor: int, offset: int, num_bytes: int) -> bytes:
    content = os.pread(descriptor, num_bytes, offset)
    if len(content) != num_bytes:
        raise OSError(f"{len(content)} of {num_bytes} bytes at offset {offset}: the tar is cut short")
    return content
