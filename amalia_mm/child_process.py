"""Runs commands as children, measures their memory, and hands them the signals that are meant for them.

A child leads a session of its own: the terminal's Ctrl-C then reaches this process alone, which passes it
on exactly once, so that a training run saves its checkpoint and is not struck twice. It knows nothing of what
the commands do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Self

import psutil

POLL_S = 0.5
LAST_PATIENCE_S = 30.0
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


def run_child(
    command: Sequence[str],
    *,
    keep_open: Sequence[int] = (),
    to_stdout: bool = False,
    lets_signals_in: bool = False,
) -> Ended:
    """Run a command to its end and return how it ended; arguments as `Children.start`, signals as `Children`."""
    with Children() as children:
        children.start("", command, keep_open=keep_open, to_stdout=to_stdout, lets_signals_in=lets_signals_in)
        return children.wait()[1]


class Children:
    """Commands that run side by side, as a context manager.

    While it is entered, Ctrl-C, SIGTERM and SIGHUP reach every child as one SIGINT, and they are waited for;
    the second of them kills them all with their own children. On Linux a child gets a SIGTERM when this
    process dies.
    """

    def __init__(self) -> None:
        self._signals = _Signals()
        self._running: dict[str, _Child] = {}

    @property
    def names(self) -> frozenset[str]:
        """Those that have not been waited for."""
        return frozenset(self._running)

    @property
    def were_interrupted(self) -> bool:
        """Whether a signal has asked for an end."""
        return self._signals.num_received > 0

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        keep_open: Sequence[int] = (),
        to_stdout: bool = False,
        environment: Mapping[str, str] | None = None,
        lets_signals_in: bool = False,
    ) -> None:
        """Start a command.

        Args:
            name: What `wait` calls it.
            command: Program and arguments.
            keep_open: File descriptors that stay open in the child, such as a lock.
            to_stdout: Whether its results are ours too; otherwise what it prints goes to stderr.
            environment: Variables that the child gets beside ours.
            lets_signals_in: Whether the child is one of ours, which lets an interrupt in when it can be ended in order
                (`ctrl_c.py`): one that comes while the interpreter begins waits until then.
        """
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=None if to_stdout else _STDERR,
            start_new_session=True,
            preexec_fn=_before_exec(lets_signals_in),  # noqa: PLW1509 (there are no threads here)
            pass_fds=tuple(keep_open),
            env={**os.environ, **(environment or {})},
        )
        self._running[name] = _Child(process)

    def interrupt(self) -> None:
        """Ask all of them to end, as Ctrl-C would; they are not asked again."""
        self._signals.ask([child.process for child in self._running.values()])

    def wait(self) -> tuple[str, Ended]:
        """Return the name of a child that has ended, and how; waits until there is one.

        Raises:
            ValueError: There is no child to wait for.
        """
        if not self._running:
            raise ValueError("no child to wait for")
        while True:
            for name, child in self._running.items():
                if child.has_ended(POLL_S / len(self._running)):
                    del self._running[name]
                    return name, child.ended(self.were_interrupted)
            self._signals.pass_on([child.process for child in self._running.values()])

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        # Something failed here while they were at work: they may still keep what they have.
        self.interrupt()
        end = time.monotonic() + LAST_PATIENCE_S
        for child in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, end - time.monotonic()))
            _kill(child.process)
            child.process.wait()
        self._signals.__exit__()


class _Child:
    """A process, since when it runs, and the most memory it was seen to hold."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._started = time.monotonic()
        self._num_polls = self._peak_bytes = 0

    def has_ended(self, patience_s: float) -> bool:
        if self._num_polls < EAGER_POLLS or self._num_polls % POLLS_A_MEASUREMENT == 0:
            self._peak_bytes = max(self._peak_bytes, _tree_bytes(self.process.pid))
        self._num_polls += 1
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ended(self, was_interrupted: bool) -> Ended:
        return Ended(
            exit_code=self.process.returncode,
            seconds=time.monotonic() - self._started,
            peak_rss_gb=self._peak_bytes / 2**30,
            was_interrupted=was_interrupted,
        )


class _Signals:
    """Counts the signals that ask for an end while it is entered, and passes them on."""

    def __init__(self) -> None:
        self.num_received = 0
        self._were_asked = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._receive)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def pass_on(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        if self.num_received == 1:
            self.ask(processes)
        elif self.num_received > 1:
            for process in processes:
                _kill(process)

    def ask(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        if not self._were_asked:
            for process in processes:
                process.send_signal(signal.SIGINT)
        self._were_asked = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.num_received += 1


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _before_exec(lets_signals_in: bool) -> Callable[[], None]:
    """Return what a new child does first: not outlive this process, where the system can do that; hold signals back."""
    # Opened before the fork: little is safe between fork and exec.
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if lets_signals_in:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])

    return prepare


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
