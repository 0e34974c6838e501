"""How a process gets the machine's memory: what it frees it keeps, and it is in large pages.

Every step of training frees what the next one needs again. glibc gives large blocks back at once, and the kernel then
hands them out anew, page of 4 KiB by page, each cleared first: on a shared machine that took up to twice as long as
the training itself (recipes/LOG.md, 30 November 2026). It changes no result, and hardly what a process holds at most.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

_TUNABLES = "GLIBC_TUNABLES"
_NEVER = 1 << 40
"""Bytes: larger than any block, and more than a process ever has to give back."""


def kept_memory(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to an environment for a child to keep its memory; nothing where its allocator was chosen.

    glibc reads it when a process starts, so it is of use to children alone. Another C library ignores it, and so does a
    kernel without large pages.
    """
    is_chosen = any(name == _TUNABLES or name.startswith("MALLOC_") for name in environment)
    if is_chosen or "LD_PRELOAD" in environment or not sys.platform.startswith("linux"):
        return {}
    malloc = {"hugetlb": 1, "mmap_threshold": _NEVER, "trim_threshold": _NEVER}
    return {_TUNABLES: ":".join(f"glibc.malloc.{name}={value}" for name, value in malloc.items())}
