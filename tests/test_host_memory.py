"""A child that is told to keeps its memory: pages that were freed are not asked for again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from amalia_mm import cli
from amalia_mm.host_memory import begin_again, kept_memory

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


def begun(monkeypatch, program, environment=None):
    """What a process of that name puts in its own place; None where nothing."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *given: calls.append(given))
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *given: None)
    monkeypatch.setattr(sys, "argv", [program, "fit"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "utf8", program, "fit"])
    begin_again({"PATH": "/bin"} if environment is None else environment)
    return calls[0] if calls else None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_a_command_begins_again_as_it_was_called_and_once(monkeypatch):
    call = begun(monkeypatch, "/somewhere/bin/amalia")
    assert call is not None
    path, arguments, environment = call
    assert path == sys.executable
    assert arguments == [sys.executable, "-X", "utf8", "/somewhere/bin/amalia", "fit"]
    assert environment["PATH"] == "/bin" and "glibc.malloc.hugetlb=1" in environment["GLIBC_TUNABLES"]
    assert begun(monkeypatch, "/somewhere/bin/amalia", environment) is None
    assert begun(monkeypatch, "/somewhere/amalia_mm/cli.py")
    assert begun(monkeypatch, "/somebody/elses/script.py") is None


def test_what_computes_keeps_memory_and_a_call_from_python_does_not_begin_again(monkeypatch, amalia):
    class BegunError(Exception):
        pass

    def instead(environment):
        raise BegunError

    monkeypatch.setattr(cli, "begin_again", instead)
    monkeypatch.setattr(cli.ctrl_c, "ends_process", False)  # and so it is afterwards
    monkeypatch.setattr(sys, "argv", ["amalia", "evaluate", "--help"])
    with pytest.raises(BegunError):
        cli.main()
    assert amalia("evaluate", "nowhere")[0] == 2
    assert "live" not in cli.KEEP_MEMORY and "say" not in cli.KEEP_MEMORY
