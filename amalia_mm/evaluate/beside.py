"""One function in a process of its own, beside what goes on here; killed where that fails first.

Two things that keep a Python interpreter busy would take turns in one process. This file knows nothing of what is
done.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from amalia_mm.errors import InputError

_spawned = multiprocessing.get_context("spawn")

T = TypeVar("T")


class Beside(Generic[T]):
    """Runs `function(*arguments)` in another process while it is entered; these and the result must be picklable.

    Args:
        function: A function of a module.
        arguments: What it is called with.
    """

    def __init__(self, function: Callable[..., T], *arguments: Any) -> None:
        self._name = function.__name__.strip("_")
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._answer, self._their_end = _spawned.Pipe(duplex=False)
        # A daemon does not outlive a parent that ends by itself.
        self._process = _spawned.Process(
            target=_call, args=(function, arguments, self._their_end), daemon=True
        )

    def __enter__(self) -> Self:
        # Ctrl-C is the parent's to answer: the process inherits that it does not hear it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        # While this process held it too, the pipe would not end when the other one dies.
        self._their_end.close()
        return self

    def check(self) -> None:
        """Raise what it raised, if it has failed by now; errors as `wait`."""
        if not self._results and (self._error is not None or self._answer.poll()):
            self.wait()

    def wait(self) -> T:
        """Return what it returned, when it has, or raise what it raised.

        Raises:
            InputError: It died without a word (killed, or out of memory).
        """
        if not self._results and self._error is None:
            try:
                result, self._error = self._answer.recv()
            except EOFError:
                self._process.join()
                self._error = _died(self._name, self._process.exitcode or 0)
            else:
                self._results = [result] if self._error is None else []
        if self._error is not None:
            raise self._error
        self._process.join()
        return self._results[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._answer.close()


def _died(name: str, exit_code: int) -> InputError:
    remedy = "free some memory (-9 is often a lack of it), and run the same again"
    if exit_code >= 0:
        remedy = (
            'see what it printed; a script that begins processes does so under `if __name__ == "__main__":`'
        )
    return InputError(name, found=f"its process ended with {exit_code}", wanted="its result", remedy=remedy)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], answer: Connection) -> None:
    try:
        result, error = function(*arguments), None
    except Exception as raised:  # noqa: BLE001 (whatever it is, the parent raises it)
        result, error = None, raised
    with suppress(BrokenPipeError):  # the parent was killed, and nobody waits for the answer
        answer.send((result, error))
