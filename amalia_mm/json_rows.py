"""Rows of JSON and the text of files, read for what a person may have put into them.

It knows files and lines; not what a row is of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
        # A number of thousands of digits, or lists in lists in lists.
        except (ValueError, RecursionError) as error:
            raise _no_object(where, str(error)) from error
        if not isinstance(row, dict):
            raise _no_object(where, type(row).__name__)
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
        remedy = "check what kind of file it is"
        where = f"byte {content.index(0)}"
        raise InputError(path, field=where, found="a zero byte", wanted="UTF-8 text", remedy=remedy)
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _no_object(where: str, found: str) -> InputError:
    return InputError(where, found=found, wanted="a JSON object in one line", remedy="correct the line")
