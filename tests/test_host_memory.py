"""A child that is told to keeps its memory: pages that were freed are not asked for again."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from amalia_mm import cli, host_memory
from amalia_mm.host_memory import begin_again, kept_memory

FAULTS = """
import resource, torch
x = torch.zeros({num_bytes} // 4)
for _ in range(4):
    x * 2
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    x * 2
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(added, num_bytes):
    """The share of pages that ten blocks ask the kernel for, when as many were asked for and freed before."""
    chosen = ("GLIBC_TUNABLES", "MALLOC_", "LD_PRELOAD", "THP_MEM")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(chosen)}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(num_bytes=num_bytes)],
        env=bare | added,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout) * os.sysconf("SC_PAGE_SIZE") / (10 * num_bytes)


def has_large_pages_unasked():
    told = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return not told.is_file() or "[always]" in told.read_text()


is_kept_here = pytest.mark.skipif(not kept_memory({}), reason="glibc from 2.35 on alone is told")


@is_kept_here
@pytest.mark.parametrize("num_bytes", [8 << 20, 40 << 20])
def test_pages_that_were_freed_are_not_asked_for_again(num_bytes):
    assert faults(kept_memory({}), num_bytes) < 0.05


@is_kept_here
@pytest.mark.skipif(
    has_large_pages_unasked(), reason="the kernel hands out large pages unasked, or does not say"
)
@pytest.mark.parametrize(
    ("added", "num_bytes"),
    [({}, 40 << 20), ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=4294967296"}, 8 << 20)],
    ids=["as it comes", "what an older glibc would make of it"],
)
def test_pages_are_asked_for_again_otherwise(added, num_bytes):
    assert faults(added, num_bytes) > 0.5


@pytest.mark.parametrize(
    ("library", "is_told"),
    [
        *((("glibc", "2.36"), True), (("glibc", "2.35"), True), (("glibc", "2.34"), False)),
        *((("glibc", "2.9"), False), (("", ""), False), (("libc", "6"), False)),
    ],
)
def test_an_old_c_library_and_another_one_are_left_alone(monkeypatch, library, is_told):
    monkeypatch.setattr(platform, "libc_ver", lambda: library)
    assert bool(kept_memory({})) == is_told


@pytest.mark.parametrize(
    ("size", "has_large"), [("2097152", True), ("536870912", False), ("none", False), (None, False)]
)
def test_large_pages_are_asked_for_where_they_are_not_huge(monkeypatch, tmp_path, size, has_large):
    told = tmp_path / "hpage_pmd_size"
    if size is not None:
        told.write_text(size)
    monkeypatch.setattr(host_memory, "_LARGE_PAGE_BYTES", told)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    assert ("hugetlb=1" in kept_memory({})["GLIBC_TUNABLES"]) == has_large


def test_an_allocator_that_somebody_chose_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    for name, value in (
        ("GLIBC_TUNABLES", "glibc.malloc.check=1"),
        ("MALLOC_ARENA_MAX", "1"),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2"),
    ):
        assert kept_memory({name: value, "PATH": "/bin"}) == {}
    beside = kept_memory({"GLIBC_TUNABLES": "glibc.pthread.rseq=0", "LD_PRELOAD": "/opt/libxalt.so"})
    assert beside["GLIBC_TUNABLES"].startswith("glibc.pthread.rseq=0:glibc.malloc.")


def begun(monkeypatch, program, began, environment=None):
    """What a process of that name, begun with these words, would put in its place if it could; None where nothing."""
    calls, masks = [], []

    def instead(*given):
        calls.append(given)
        raise FileNotFoundError

    monkeypatch.setattr(os, "execve", instead)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda how, mask: masks.append((how, mask)) or {"before"})
    monkeypatch.setattr(sys, "argv", [program, "fit"])
    monkeypatch.setattr(sys, "orig_argv", ["python", *began])
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    begin_again({"PATH": "/bin"} if environment is None else environment)
    if calls:
        assert masks == [(signal.SIG_BLOCK, [signal.SIGINT]), (signal.SIG_SETMASK, {"before"})]
    return calls[0] if calls else None


def test_a_command_begins_again_as_it_was_called_and_once(monkeypatch):
    script = "/somewhere/bin/amalia"
    call = begun(monkeypatch, script, [script, "fit"])
    assert call is not None
    path, arguments, environment = call
    assert path == sys.executable
    assert arguments == [sys.executable, script, "fit"]
    assert environment["PATH"] == "/bin" and "glibc.malloc." in environment["GLIBC_TUNABLES"]
    assert begun(monkeypatch, script, [script, "fit"], environment) is None


@pytest.mark.parametrize(
    ("program", "began", "does"),
    [
        ("/x/amalia_mm/cli.py", ["-m", "amalia_mm.cli", "fit"], True),
        ("/x/amalia_mm/cli.py", ["-m", "ipykernel_launcher", "-f", "kernel.json"], False),
        ("/x/amalia_mm/cli.py", ["-m", "pdb", "-m", "amalia_mm.cli", "fit"], False),
        ("/x/amalia_mm/cli.py", ["-m", "debugpy", "--listen", "1", "-m", "amalia_mm.cli", "fit"], False),
        ("/else/cli.py", ["/else/cli.py", "fit"], False),
        ("/x/bin/amalia", ["-c", "...", "fit"], False),
    ],
)
def test_another_program_does_not_begin_again(monkeypatch, program, began, does):
    assert (begun(monkeypatch, program, began) is not None) == does


def test_what_computes_keeps_memory_and_a_call_from_python_does_not_begin_again(monkeypatch, amalia):
    class BegunError(Exception):
        pass

    def instead(environment):
        raise BegunError

    monkeypatch.setattr(cli, "begin_again", instead)
    monkeypatch.setattr(cli.ctrl_c, "ends_process", False)  # and so it is afterwards
    monkeypatch.setattr(sys, "argv", ["amalia", "--debug", "evaluate", "--help"])
    with pytest.raises(BegunError):
        cli.main()
    assert amalia("evaluate", "nowhere")[0] == 2
    assert cli.keeps_memory(["voice", "enrol", "folder"]) and cli.keeps_memory(["fit"])
    assert not any(map(cli.keeps_memory, ([], ["live"], ["say", "fit"], ["voice", "list"])))


@is_kept_here
def test_the_process_that_computes_is_the_second_one(tmp_path):
    """Each start of Python leaves a line of what its allocator was told."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nwith open(os.environ['STARTS'], 'a') as file:\n"
        "    file.write(os.environ.get('GLIBC_TUNABLES', '') + '\\n')\n"
    )
    bare = {name: value for name, value in os.environ.items() if name not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
    starts = tmp_path / "starts"
    environment = bare | {"PYTHONPATH": str(tmp_path), "STARTS": str(starts)}
    command = [sys.executable, "-m", "amalia_mm.cli", "evaluate", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "--against" in done.stdout
    first, second = starts.read_text().splitlines()
    assert first == "" and "glibc.malloc.trim_threshold" in second
