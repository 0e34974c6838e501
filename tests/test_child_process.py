"""A child gets its signals once, is measured with its own children, and does not outlive its parent."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from amalia_mm.child_process import run_child


def python(code):
    return [sys.executable, "-c", code]


def after(seconds, call):
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


def wait_until(condition, patience_s=10.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def test_the_exit_code_and_time_are_the_childs():
    ended = run_child(python("import sys, time; time.sleep(0.2); sys.exit(7)"))
    assert ended.exit_code == 7
    assert 0.2 <= ended.seconds < 5
    assert not ended.was_interrupted


def test_what_a_child_prints_goes_to_stderr_unless_it_is_ours(capfd):
    run_child(python("print('progress')"))
    run_child(python("print('result')"), to_stdout=True)
    out, err = capfd.readouterr()
    assert out == "result\n"
    assert err == "progress\n"


def test_memory_counts_the_whole_tree():
    # Two processes of 100 MB each are 0.2 GB, wherever they stand in the tree.
    hold = "import time; x = bytearray(100_000_000); time.sleep(1.2)"
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}; p.wait()"
    peak_gb = run_child(python(code)).peak_rss_gb
    assert 0.18 < peak_gb < 0.4


def test_one_interrupt_reaches_the_child_as_one_and_it_may_finish_what_it_does():
    code = (
        "import signal, sys, time\n"
        "n = 0\n"
        "def count(*_):\n"
        "    global n; n += 1\n"
        "signal.signal(signal.SIGINT, count)\n"
        "end = time.monotonic() + 3\n"
        "while n == 0 and time.monotonic() < end: time.sleep(0.02)\n"
        "time.sleep(0.3)\n"
        "sys.exit(100 + n)\n"
    )
    after(0.8, lambda: os.kill(os.getpid(), signal.SIGINT))
    ended = run_child(python(code))
    assert ended.exit_code == 101
    assert ended.was_interrupted


def test_the_second_interrupt_kills_the_child_and_its_children(tmp_path):
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    note = tmp_path / "pid"
    code = (
        "import pathlib, subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {stubborn!r}])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(p.pid))\n"
        f"{stubborn}\n"
    )
    after(0.8, lambda: os.kill(os.getpid(), signal.SIGINT))
    after(1.6, lambda: os.kill(os.getpid(), signal.SIGINT))
    ended = run_child(python(code))
    assert ended.exit_code == -signal.SIGKILL
    grandchild = int(note.read_text())
    wait_until(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie")


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death"
)
def test_a_child_does_not_outlive_a_killed_parent(tmp_path):
    note = tmp_path / "pid"
    child = (
        f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    code = f"import sys; from amalia_mm.child_process import run_child as run; run([sys.executable, '-c', {child!r}])"
    parent = subprocess.Popen(python(code))
    wait_until(lambda: note.is_file() and note.read_text())
    parent.kill()
    parent.wait()
    pid = int(note.read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_signal_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    run_child(python("pass"))
    assert signal.getsignal(signal.SIGINT) is before
