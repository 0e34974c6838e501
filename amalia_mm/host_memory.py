"""How a process gets the machine's memory: what it frees it keeps, and it is in large pages.

Every step of training frees what the next one needs again. glibc gives large blocks back at once, and the kernel then
hands them out anew, page of 4 KiB by page, each cleared first: on a shared machine that took up to twice as long as
the training itself (recipes/LOG.md, 30 November 2026). It changes no result, and hardly what a process holds at most.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_TUNABLES = "GLIBC_TUNABLES"
_NEVER = 1 << 40
"""Bytes: larger than any block, and more than a process ever has to give back."""

_COMMAND = ("amalia", "cli.py")
"""What the command line's process calls itself, by its script or as a module: anybody else's may not begin again."""


def begin_again(environment: Mapping[str, str]) -> None:
    """Put this process's command in its own place with an environment in which memory is kept.

    It returns where that is so already, or where the process is not the command line's own. A Ctrl-C that comes while
    it begins is held back until `ctrl_c` lets it in.
    """
    added = kept_memory(environment)
    if added and Path(sys.argv[0]).name in _COMMAND:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environment, **added})


def kept_memory(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to the environment of a process for it to keep memory; nothing where its allocator was chosen.

    glibc reads it when a process starts. Another C library ignores it, and so does a kernel without large pages.
    """
    is_chosen = any(name == _TUNABLES or name.startswith("MALLOC_") for name in environment)
    if is_chosen or "LD_PRELOAD" in environment or not sys.platform.startswith("linux"):
        return {}
    malloc = {"hugetlb": 1, "mmap_threshold": _NEVER, "trim_threshold": _NEVER}
    return {_TUNABLES: ":".join(f"glibc.malloc.{name}={value}" for name, value in malloc.items())}
