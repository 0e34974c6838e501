"""One function in a process of its own, beside what goes on here; killed where that fails first.

Writing text and writing speech both keep a Python interpreter busy: in one process they would take turns. This
file knows nothing of what is done.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import Any, Self

from amalia_mm.errors import InputError

_spawned = multiprocessing.get_context("spawn")


class Beside:
    """Runs `function(*arguments)` in another process while it is entered; all of them must be picklable.

    Args:
        function: A function of a module; it may ask `is_orphan` whether anybody still waits for it.
        arguments: What it is called with.
    """

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self._name = function.__name__.strip("_")
        self._is_finished = False
        self._answer: SimpleQueue[BaseException | None] = _spawned.SimpleQueue()
        # A daemon does not outlive a parent that ends by itself; of one that is killed, `is_orphan` tells.
        self._process = _spawned.Process(target=_call, args=(function, arguments, self._answer), daemon=True)

    def __enter__(self) -> Self:
        # Ctrl-C is the parent's to answer: the process inherits that it does not hear it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return self

    def check(self) -> None:
        """Raise what it raised, if it has failed by now; errors as `wait`."""
        if not self._process.is_alive() and not self._is_finished:
            self.wait()

    def wait(self) -> None:
        """Wait for its end, and raise what it raised.

        Raises:
            InputError: It died without a word (killed, or out of memory).
        """
        if self._is_finished:
            return
        self._process.join()
        if self._answer.empty():
            raise InputError(
                self._name,
                found=f"its process ended with {self._process.exitcode}",
                wanted="its result",
                remedy="free some memory (-9 is often a lack of it), and run the same again",
            )
        self._is_finished = True
        error = self._answer.get()
        if error is not None:
            raise error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._answer.close()


def is_orphan() -> bool:
    """Return whether this process was begun by another one that is dead by now."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _call(
    function: Callable[..., None], arguments: tuple[Any, ...], answer: SimpleQueue[BaseException | None]
) -> None:
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent raises it)
        answer.put(error)
    else:
        answer.put(None)
