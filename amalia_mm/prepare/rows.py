"""The fields of rows, read for what a person may have put into them.

It knows fields and types; not what a field is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from amalia_mm.errors import InputError


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
