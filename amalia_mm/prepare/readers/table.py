"""Tables of text, one row a line, as corpora come with: columns by name, and what does not fit them told."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.json_rows import content_of
from amalia_mm.prepare.readers.row import Fault

TableRow = tuple[str, dict[str, str], Fault | None]
"""Where it stands, its columns, and what is wrong with it."""


def table_rows(
    path: Path,
    *,
    delimiter: str = "\t",
    columns: Sequence[str] | None = None,
    required: Sequence[str] = (),
) -> Iterator[TableRow]:
    """Yield the rows of a table.

    Fields of a `.csv` may be quoted; in a tab-separated table a quotation mark is a letter like any other.

    Args:
        path: The table.
        delimiter: What stands between columns.
        columns: Their names; None reads them from the first line.
        required: Those that must be there.

    Raises:
        InputError: The file cannot be read, or has not those columns.
    """
    csv.field_size_limit(2**31 - 1)  # the library's own, 128 KiB, is less than some transcripts
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    lines = csv.reader(content_of(path).split("\n"), delimiter=delimiter, quoting=quoting)
    names = list(columns) if columns is not None else [name.strip() for name in next(lines, [])]
    missing = [name for name in required if name not in names]
    if missing:
        raise InputError(
            f"{path}:1",
            field=missing[0],
            found=", ".join(names) or "an empty file",
            wanted=f"columns {', '.join(required)}",
            remedy="check the format that was given for this corpus",
        )
    for values in lines:
        if not any(value.strip() for value in values):
            continue
        fault = None
        if len(values) != len(names):
            fault = Fault("columns", f"{len(values)} columns", f"{len(names)} columns")
        padded = values + [""] * (len(names) - len(values))
        row = {name: value.strip() for name, value in zip(names, padded, strict=False)}
        yield f"{path}:{lines.line_num}", row, fault


def first_folder(path: Path, candidates: Sequence[str], holds: str) -> Path:
    """Return the folder itself or the first of those below it that holds a file like `holds` (a glob).

    Raises:
        InputError: There is no such folder, or none of them holds it.
    """
    for folder in (path, *(path / name for name in candidates)):
        if folder.is_dir() and any(folder.glob(holds)):
            return folder
    found = "no such folder" if not path.exists() else "none in it" if path.is_dir() else "a file"
    raise InputError(
        path,
        found=found,
        wanted=f"a folder with {holds}",
        remedy="check the path, and the format of the corpus",
    )
