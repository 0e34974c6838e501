"""Rows of JSON and the text of files, read for what a person may have put into them, and their fields.

It knows files, lines and types; not what a field is for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from amalia_mm.errors import InputError


def json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each row of a JSONL file with where it stands; `InputError` names the line that is no JSON object."""
    for number, line in enumerate(content_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                where,
                field=f"column {error.colno}",
                found=error.msg,
                wanted="a JSON object in one line",
                remedy="correct the line",
            ) from error
        except (
            ValueError,
            RecursionError,
        ) as error:  # a number of thousands of digits, or lists in lists in lists
            fail(where, "", str(error), "a JSON object in one line", "correct the line")
        if not isinstance(row, dict):
            fail(where, "", type(row).__name__, "a JSON object in one line", "correct the line")
        yield where, row


def content_of(path: Path) -> str:
    """Return the text of a file; `InputError` where it cannot be read, or names the byte that is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            path,
            found=error.strerror or str(error),
            wanted="a file that can be read",
            remedy="check the path",
        ) from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "ISO-8859-1"
        raise InputError(
            path,
            field=f"byte {error.start}",
            found=f"0x{content[error.start]:02x}, which is not UTF-8",
            wanted="UTF-8 text",
            remedy=f"convert it: iconv -f {encoding} -t UTF-8 {path.name}",
        ) from error
    if "\0" in text:
        fail(path, f"byte {content.index(0)}", "a zero byte", "UTF-8 text", "check what kind of file it is")
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def required(
    row: Mapping[str, Any], field: str, where: str, *, wanted: str = "a string", may_be_empty: bool = False
) -> str:
    """Return a field that must be there, without the space around it; `InputError` names it."""
    value = row.get(field)
    if not isinstance(value, str) or not (value.strip() or may_be_empty):
        found = repr(value) if field in row else f"no such field among {', '.join(map(str, row)) or 'none'}"
        fail(where, field, found, wanted, "fill it in or remove the row")
    return writable(value, field, where).strip()


def optional(row: Mapping[str, Any], field: str, where: str) -> str | None:
    """Return a field without the space around it, None where it is not there or empty; `InputError` names it."""
    value = row.get(field)
    if isinstance(value, int) and field in ("id", "speaker"):
        value = str(value)
    if value is not None and not isinstance(value, str):
        fail(where, field, repr(value), "a string", "correct the row")
    return writable(value, field, where).strip() if value else None


def writable(value: str, field: str, where: str) -> str:
    """Return a string as it is; JSON can hold zero bytes and half characters, which no file takes."""
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        fail(where, field, ascii(value), "text that UTF-8 can hold", "correct the row")
    return value


def fail(where: str | Path, field: str, found: str, wanted: str, remedy: str) -> NoReturn:
    """Raise `InputError`."""
    raise InputError(where, field=field, found=found, wanted=wanted, remedy=remedy)
