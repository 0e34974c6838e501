"""Remembers that Ctrl-C was pressed, whatever became of the KeyboardInterrupt.

While libraries are imported it may be caught by them, or be raised where an exception is only printed; who
begins something long asks here first.
"""

from __future__ import annotations

import signal
from types import FrameType


class CtrlC:
    """While it is entered, Ctrl-C is a KeyboardInterrupt as ever, and is remembered."""

    def __init__(self) -> None:
        self.was_pressed = False
        self._is_ours = False

    def __enter__(self) -> None:
        self.was_pressed = False
        # Somebody else's handler, or none as under nohup, is left alone.
        self._is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_ours:
            signal.signal(signal.SIGINT, self._press)

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def raise_again(self) -> None:
        """Raise the KeyboardInterrupt that was lost, if one was."""
        if self.was_pressed:
            raise KeyboardInterrupt

    def _press(self, number: int, frame: FrameType | None) -> None:
        self.was_pressed = True
        raise KeyboardInterrupt


ctrl_c = CtrlC()
"""The one of this process: it has one handler of signals."""
