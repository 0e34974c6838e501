"""A child that is told to keeps its memory: pages that were freed are not asked for again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from amalia_mm.host_memory import kept_memory

FAULTS = """
import resource, torch
x = torch.zeros(10 << 20)
for _ in range(4):
    x * 2
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    x * 2
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(added):
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GLIBC_TUNABLES", "MALLOC_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=bare | added, check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def has_glibc():
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):
        return False


@pytest.mark.skipif(not has_glibc(), reason="glibc alone is told")
def test_pages_that_were_freed_are_not_asked_for_again():
    """A block of 40 MB has 10,240 pages of 4 KiB; those of up to 32 MB are kept for a while in any case."""
    assert faults({}) > 50_000
    assert faults(kept_memory({})) < 1000


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "LD_PRELOAD"])
def test_an_allocator_that_somebody_chose_is_left_alone(name):
    assert kept_memory({name: "x", "PATH": "/bin"}) == {}
    assert not sys.platform.startswith("linux") or kept_memory({"PATH": "/bin"})
