"""Child processes that begin at once: forked from one that has loaded torch and Lightning, which takes ten seconds.

That one has computed nothing and started no thread, so its children are as good as new.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("amalia_mm.cli", "amalia_mm.train.cli", "torch.distributed.fsdp", "lightning.pytorch.strategies"),
        *("amalia_mm.train.preference", "amalia_mm.train.understanding", "amalia_mm.train.hearing"),
        *("amalia_mm.data.preference", "amalia_mm.train.strategy", "webdataset.writer"),
    ]
)


class Forked:
    """A command (`fit`, ...) or a script (`.../child.py`) with its words, running."""

    def __init__(self, *words: object, environment: Mapping[str, str] | None = None) -> None:
        with tempfile.NamedTemporaryFile(prefix="forked-", suffix=".stderr", delete=False) as file:
            self._errors = Path(file.name)
        arguments = [str(word) for word in words], {**os.environ, **(environment or {})}, str(self._errors)
        self._process = _FORKS.Process(target=_run, args=arguments)
        self._process.start()

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it as `kill -9` does, and wait until it is gone."""
        self._end()
        self._errors.unlink(missing_ok=True)

    def wait(self, timeout_s: float = 50) -> tuple[int, str]:
        """Return the exit code and what was written to stderr; a process that hangs is killed, and told."""
        self._process.join(timeout_s)
        code = self._process.exitcode
        self._end()
        errors = self._errors.read_text()
        self._errors.unlink()
        assert code is not None, f"it hung for {timeout_s} s: {errors[-3000:]}"
        return code, errors

    def _end(self) -> None:
        self._process.kill()
        self._process.join()

    def finish(self, timeout_s: float = 50) -> None:
        """Wait for an end without an error."""
        code, errors = self.wait(timeout_s)
        assert code == 0, errors[-3000:]


def ranks(*words: Sequence[object], environment: Mapping[str, str] | None = None) -> list[Forked]:
    """Start processes as torchrun would, each with words of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    size = str(len(words))
    around = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    around |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", **(environment or {})}
    return [
        Forked(*own, environment={**around, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, own in enumerate(words)
    ]


def finish(children: Sequence[Forked], timeout_s: float = 50) -> None:
    """Wait until all have ended without an error; none is left behind."""
    try:
        for child in children:
            child.finish(timeout_s)
    finally:
        for child in children:
            child.kill()


def _run(words: list[str], environment: dict[str, str], errors: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # as it is in a process begun by a person
    for path, number in ((os.devnull, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_TRUNC), number)
    import torch

    torch.set_num_threads(1)
    if words[0].endswith(".py"):
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
        return
    from amalia_mm import cli

    sys.argv = ["amalia", *words]
    sys.exit(cli.main(words))
