"""Remembers that Ctrl-C was pressed, whatever became of the KeyboardInterrupt.

While libraries are imported it may be caught by them, or be raised where an exception is only printed; who
begins something long asks here first. Where it would only be printed it is raised once more a moment later.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

_A_MOMENT_S = 0.02


class CtrlC:
    """While it is entered, Ctrl-C is a KeyboardInterrupt as ever, and is remembered."""

    def __init__(self) -> None:
        self.was_pressed = False
        self.ends_process = False
        """Whether nothing but the end of the process follows: Ctrl-C is ignored then, for it has nothing to stop."""
        self._is_ours = False
        self._print_unraisable = sys.unraisablehook

    def __enter__(self) -> None:
        self.was_pressed = False
        # Somebody else's handler, or none as under nohup, is left alone.
        self._is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_ours:
            self._print_unraisable, sys.unraisablehook = sys.unraisablehook, self._raise_later
            signal.signal(signal.SIGINT, self._press)

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            # At the interpreter's end a KeyboardInterrupt is a traceback out of whatever clears up there.
            after = signal.SIG_IGN if self.ends_process else signal.default_int_handler
            signal.signal(signal.SIGINT, after)
            sys.unraisablehook = self._print_unraisable

    def let_in(self) -> None:
        """Raise the KeyboardInterrupt that was held back since the process began, if one was (`child_process.py`)."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def raise_again(self) -> None:
        """Raise the KeyboardInterrupt that was lost, if one was."""
        if self.was_pressed:
            raise KeyboardInterrupt

    def _press(self, number: int, frame: FrameType | None) -> None:
        self.was_pressed = True
        raise KeyboardInterrupt

    def _raise_later(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Raise a KeyboardInterrupt again that struck where none can be raised: in a callback of the collector's."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._print_unraisable(unraisable)
            return
        # By another thread: from here it would strike this very call. As a signal, so that it ends a wait as well.
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(_A_MOMENT_S, signal.pthread_kill, (main, signal.SIGINT))
        timer.daemon = True
        timer.start()


ctrl_c = CtrlC()
"""The one of this process: it has one handler of signals."""
