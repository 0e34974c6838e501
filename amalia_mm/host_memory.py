"""How a process gets the machine's memory: what it frees it keeps, and it is in large pages.

Every step of training frees what the next one needs again. glibc gives large blocks back at once, and the kernel then
hands them out anew, page of 4 KiB by page, each cleared first: in slow hours of a shared machine more than half of a
step (recipes/LOG.md, 30 November 2026). It changes no result; up to `_KEPT_BYTES` of what is free are held.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_TUNABLES = "GLIBC_TUNABLES"
_LARGEST_BLOCK_BYTES, _KEPT_BYTES = 1 << 30, 4 << 30
"""A larger block is given back when it is freed, as is what is free beyond the second: weights that went to a GPU."""
_FIRST_GLIBC = (2, 35)
"""Older ones keep no block of more than 32 MB, and have no large pages; told to, they would give back still more."""
_LARGE_PAGE_BYTES = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_MOST_LARGE_PAGE_BYTES = 4 << 20
"""Where pages are of 64 KiB a large one has 512 MiB, and a heap would grow by as much."""


def begin_again(environment: Mapping[str, str]) -> None:
    """Put this process's command in its own place with an environment in which memory is kept.

    It returns where that is so already, or where the process is not the command line's own: a notebook's, a debugger's
    or another program's may not begin again. A Ctrl-C that comes meanwhile is held back until `ctrl_c` lets it in.
    """
    added = kept_memory(environment)
    if not added or not _is_own_process():
        return
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environment, **added})
    except OSError:  # then it goes on as it is
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kept_memory(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to the environment of a process for it to keep memory; nothing where its allocator was chosen.

    glibc reads it when a process starts; nothing is added for another C library, or an old one.
    """
    tunables = environment.get(_TUNABLES, "")
    is_chosen = "glibc.malloc." in tunables or "malloc" in environment.get("LD_PRELOAD", "")
    if is_chosen or any(name.startswith("MALLOC_") for name in environment) or _glibc() < _FIRST_GLIBC:
        return {}
    malloc = {"mmap_threshold": _LARGEST_BLOCK_BYTES, "trim_threshold": _KEPT_BYTES}
    if _has_large_pages():
        malloc["hugetlb"] = 1
    wanted = [f"glibc.malloc.{name}={value}" for name, value in malloc.items()]
    return {_TUNABLES: ":".join([*filter(None, [tunables]), *wanted])}


def _is_own_process() -> bool:
    """Return whether the process began as `amalia ...` or `python -m amalia_mm.cli ...`, and as nothing else."""
    words = sys.argv[1:]
    began = sys.orig_argv[1 : len(sys.orig_argv) - len(words)]
    if not sys.executable or sys.gettrace() is not None or sys.orig_argv[1 + len(began) :] != words:
        return False
    is_script = began == [sys.argv[0]] and Path(sys.argv[0]).name == "amalia"
    return is_script or began == ["-m", "amalia_mm.cli"]


def _glibc() -> tuple[int, ...]:
    """Return the version of the C library where it is glibc, else (0)."""
    name, number = platform.libc_ver()
    parts = number.split(".")
    return tuple(map(int, parts)) if name == "glibc" and all(map(str.isdigit, parts)) else (0,)


def _has_large_pages() -> bool:
    try:
        return int(_LARGE_PAGE_BYTES.read_text()) <= _MOST_LARGE_PAGE_BYTES
    except (OSError, ValueError):
        return False
