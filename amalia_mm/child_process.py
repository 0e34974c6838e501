"""Runs one command as a child, measures its memory, and hands it the signals that are meant for it.

The child leads a session of its own: the terminal's Ctrl-C then reaches this process alone, which passes it
on exactly once, so that a training run saves its checkpoint and is not struck twice. It knows nothing of what
the command does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import psutil

POLL_S = 0.5
EAGER_POLLS, POLLS_A_MEASUREMENT = 10, 6
"""Adding up the memory of a tree of processes takes as long as a training step: after the start it is done seldom."""
_PR_SET_PDEATHSIG = 1
_STDERR = 2


@dataclass(frozen=True)
class Ended:
    """How a child ended; a negative exit code is the signal that killed it, the memory is its tree's."""

    exit_code: int
    seconds: float
    peak_rss_gb: float
    was_interrupted: bool


def run_child(command: Sequence[str], *, keep_open: Sequence[int] = (), to_stdout: bool = False) -> Ended:
    """Run a command to its end and return how it ended.

    Ctrl-C, SIGTERM and SIGHUP reach the child as one SIGINT, and it is waited for; the second of them kills
    it with all its children. On Linux the child gets a SIGTERM when this process dies.

    Args:
        command: Program and arguments.
        keep_open: File descriptors that stay open in the child, such as a lock.
        to_stdout: Whether its results are ours too; otherwise what it prints goes to stderr.
    """
    started = time.monotonic()
    signals = _Signals()
    with signals:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=None if to_stdout else _STDERR,
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 (there are no threads here)
            pass_fds=tuple(keep_open),
        )
        peak = num_polls = 0
        while process.returncode is None:
            if num_polls < EAGER_POLLS or num_polls % POLLS_A_MEASUREMENT == 0:
                peak = max(peak, _tree_bytes(process.pid))
            num_polls += 1
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                signals.pass_on(process)
    return Ended(
        exit_code=process.returncode,
        seconds=time.monotonic() - started,
        peak_rss_gb=peak / 2**30,
        was_interrupted=signals.num_received > 0,
    )


class _Signals:
    """Counts the signals that ask for an end while it is entered, and passes them on."""

    def __init__(self) -> None:
        self.num_received = 0
        self._num_passed = 0
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._receive)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def pass_on(self, process: subprocess.Popen[bytes]) -> None:
        if self.num_received == self._num_passed:
            return
        if self._num_passed == 0:
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGKILL)
        self._num_passed = self.num_received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.num_received += 1


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a new child does first so as not to outlive this process, where the system can do that."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)  # opened before the fork: little is safe between fork and exec

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask


def _tree_bytes(pid: int) -> int:
    """Return the memory of a process and all below it, pages that they share counted once."""
    total = 0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in tree:
        try:
            total += getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total
