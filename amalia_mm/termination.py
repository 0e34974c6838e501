"""A command that is told to end (kill, log-out, shutdown) clears up after itself first, as with Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_TOLD = (signal.SIGTERM, signal.SIGHUP)
_SHELL = 128
"""What a shell adds to the number of the signal that ended a command."""


@contextmanager
def clears_up() -> Iterator[None]:
    """While it is entered, SIGTERM and SIGHUP raise `SystemExit`, so that what is half-written is removed.

    A signal that somebody else answers, or that is ignored as under nohup, is left alone. For the main thread.
    """
    ours = [number for number in _TOLD if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    # A second one must not strike what clears up.
    for each in _TOLD:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(_SHELL + number)
