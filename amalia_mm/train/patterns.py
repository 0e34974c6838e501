"""Patterns over parameter names, as recipes give them."""

from __future__ import annotations

import re

from amalia_mm.errors import InputError


def compiled(pattern: str, where: str, field: str) -> re.Pattern[str]:
    """Return a regular expression; `InputError` names `where` and `field` if it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(
            where,
            field=field,
            found=repr(pattern),
            wanted=f"a regular expression ({error})",
            remedy="correct it",
        ) from error
