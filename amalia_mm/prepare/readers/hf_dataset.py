"""A Hugging Face dataset on disk: what `save_to_disk` writes (Arrow), or a snapshot of the Hub (Parquet).

Read with pyarrow alone: the library `datasets` would decode audio, of which nothing is wanted here but its bytes.
Columns are named as in a manifest; audio is bytes inside of the table, or a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amalia_mm.data.schema import Split
from amalia_mm.errors import InputError
from amalia_mm.prepare.readers.manifest import NAMES, row_of, text_of
from amalia_mm.prepare.readers.row import SPLITS, CorpusRow, Embedded, Reading

if TYPE_CHECKING:
    import pyarrow as pa


def read_hf_dataset(path: Path, reading: Reading) -> Iterator[CorpusRow]:
    """Yield the rows of a dataset's folder, split by split.

    Raises:
        InputError: There is no dataset in it, it was saved with a selection of rows beside the rows themselves,
            or there is no column of audio.
    """
    files = list(_files(path))
    if not files:
        raise InputError(
            path,
            found="neither state.json, dataset_dict.json nor .parquet files",
            wanted="a folder that save_to_disk wrote, or one with Parquet files",
            remedy="give the folder of one dataset",
        )
    seen: set[str] = set()
    for split, file in files:
        for group in range(num_groups(file)):
            table = load_group(file, group)
            yield from _rows(table, file, group, split, reading, seen)


def embedded_audio(place: Embedded) -> bytes | None:
    """Return the bytes of the audio that lies in a table, None where there are none; as in `read_hf_dataset`."""
    value = load_group(place.file, place.group).column(place.column)[place.row].as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    return content if isinstance(content, bytes) else None


def _rows(
    table: pa.Table, file: Path, group: int, split: Split | None, reading: Reading, seen: set[str]
) -> Iterator[CorpusRow]:
    column = reading.fields.get("audio") or next((n for n in NAMES["audio"] if n in table.column_names), "")
    texts = table.drop_columns([column]).to_pylist() if column else table.to_pylist()
    for number, values in enumerate(texts):
        fields = {name: text_of(value) for name, value in values.items()}
        embedded, audio_path = _audio(table, column, number)
        if column:
            fields[column] = audio_path
        where = f"{file}:{group}:{number}"
        row = row_of(fields, where, file.parent, reading, seen)
        row = replace(row, split=row.split or split, id=row.id or f"{file.stem}-{group}-{number}")
        yield replace(row, audio=Embedded(file, group, number, column)) if embedded else row


def _audio(table: pa.Table, column: str, number: int) -> tuple[bool, str]:
    """Return whether the bytes of a row's audio lie in the table, and the path that it names."""
    if not column:
        return False, ""
    value = table.column(column)[number]
    kind = str(value.type)
    if kind.startswith("struct"):
        inner = (
            {value.type.field(i).name: value[i] for i in range(value.type.num_fields)}
            if value.is_valid
            else {}
        )
        has_bytes = "bytes" in inner and inner["bytes"].is_valid
        path = inner["path"].as_py() if "path" in inner else None
        return has_bytes, str(path or "")
    if "binary" in kind:
        return value.is_valid, ""
    return False, str(value.as_py() or "")


def _files(path: Path) -> Iterator[tuple[Split | None, Path]]:
    """Yield the files of a dataset, with the split each belongs to."""
    if (path / "dataset_dict.json").is_file():
        for name in _json(path / "dataset_dict.json", "splits"):
            for _, file in _files(path / str(name)):
                yield SPLITS.get(str(name).lower()), file
    elif (path / "state.json").is_file():
        state = json.loads((path / "state.json").read_text("utf-8"))
        if state.get("_indices_data_files"):
            found, remedy = "rows chosen by indices", "call flatten_indices() before save_to_disk()"
            raise InputError(path / "state.json", found=found, wanted="whole rows", remedy=remedy)
        for entry in _json(path / "state.json", "_data_files"):
            yield None, path / str(entry["filename"])
    else:
        for file in sorted(path.rglob("*.parquet")):
            name = re.match(r"[a-z]+", file.stem.lower())
            yield SPLITS.get(name[0]) if name else None, file


def _json(path: Path, field: str) -> list[Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
        found = content[field] if isinstance(content, Mapping) else None
    except (OSError, ValueError, KeyError) as error:
        remedy = "save the dataset again"
        raise InputError(path, field=field, found=repr(error), wanted="a list", remedy=remedy) from error
    if not isinstance(found, list):
        raise InputError(
            path, field=field, found=repr(found), wanted="a list", remedy="save the dataset again"
        )
    return found


@lru_cache(maxsize=4)
def _opened(file: Path) -> Any:
    """Return the reader of an Arrow file (stream or random access) or of a Parquet file, mapped into memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            return pq.ParquetFile(file, memory_map=True)
        source = pa.memory_map(str(file))
        try:
            return list(pa.ipc.open_stream(source))
        except pa.ArrowInvalid:
            reader = pa.ipc.open_file(source)
            return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (pa.ArrowException, OSError) as error:
        remedy = "copy the dataset again, or save it again"
        raise InputError(file, found=error, wanted="an Arrow or Parquet file", remedy=remedy) from error


def num_groups(file: Path) -> int:
    """Return how many record batches or row groups a file has."""
    opened = _opened(file)
    return len(opened) if isinstance(opened, list) else opened.num_row_groups


@lru_cache(maxsize=2)
def load_group(file: Path, group: int) -> pa.Table:
    """Return one record batch or row group of a file as a table."""
    import pyarrow as pa

    opened = _opened(file)
    if isinstance(opened, list):
        return pa.Table.from_batches([opened[group]])
    return opened.read_row_group(group)
