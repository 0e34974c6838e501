"""A child gets its signals once, is measured with its own children, and does not outlive its parent."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from amalia_mm.child_process import Children, run_child


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


COUNT_INTERRUPTS = (
    "import signal, sys, time\n"
    "n = 0\n"
    "def count(*_):\n"
    "    global n; n += 1\n"
    "signal.signal(signal.SIGINT, count)\n"
    "print('ready', flush=True)\n"
    "end = time.monotonic() + 20\n"
    "while n == 0 and time.monotonic() < end: time.sleep(0.02)\n"
    "time.sleep(0.7)\n"
    "sys.exit(100 + n)\n"
)
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "time.sleep(60)\n"
)


def start_two(children, first, second, capfd):
    children.start("first", python(first))
    children.start("second", python(second))
    heard = []
    wait_until(lambda: heard.append(capfd.readouterr().err) or "".join(heard).count("ready") == 2)


def test_one_interrupt_reaches_both_children_once(capfd):
    with Children() as children:
        start_two(children, COUNT_INTERRUPTS, COUNT_INTERRUPTS, capfd)
        assert children.names == {"first", "second"}
        after(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
        ended = dict([children.wait(), children.wait()])
        assert {name: end.exit_code for name, end in ended.items()} == {"first": 101, "second": 101}
        assert children.were_interrupted and not children.names


def test_the_second_interrupt_kills_both(capfd):
    with Children() as children:
        start_two(children, STUBBORN, STUBBORN, capfd)
        after(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
        after(1.2, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert {children.wait()[1].exit_code, children.wait()[1].exit_code} == {-signal.SIGKILL}


def test_who_was_asked_to_end_is_not_struck_again_by_the_first_interrupt(capfd):
    with Children() as children:
        start_two(children, COUNT_INTERRUPTS, "print('ready')", capfd)
        children.interrupt()
        after(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
        ended = dict([children.wait(), children.wait()])
        assert ended["first"].exit_code == 101


def test_a_failure_here_lets_the_children_end_in_order(tmp_path, capfd):
    saved = tmp_path / "saved"
    code = COUNT_INTERRUPTS.replace("sys.exit", f"open({str(saved)!r}, 'w').close(); sys.exit")

    def fail() -> None:
        with Children() as children:
            start_two(children, code, "print('ready')", capfd)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert saved.exists(), "it was killed before it could keep what it had"


def test_waiting_for_nobody_is_an_error():
    with Children() as children, pytest.raises(ValueError, match="no child"):
        children.wait()


def test_signal_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    run_child(python("pass"))
    assert signal.getsignal(signal.SIGINT) is before
