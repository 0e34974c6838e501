"""The two streams of a command: results on stdout for the next program, notes on stderr for the person."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from amalia_mm.errors import InputError

_SHOWN = "backslashreplace"


def prepare_streams() -> bool:
    """Make the streams take any text; return False where there is no stdout for a result to go to.

    A terminal that cannot show a letter shows its number: an answer is never lost for it.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (open as long as the program)
    if sys.stdout is None:
        note(
            "amalia: found stdout closed; wanted a place for the result; leave it open, or send it to /dev/null"
        )
        return False
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, _SHOWN), (sys.stderr, _SHOWN)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    return True


def result(line: str) -> None:
    """Write one line of result at once; `InputError` where stdout is a file on a full disk."""
    piece(line + "\n")


def piece(text: str) -> None:
    """Write a part of a result at once; as `result`."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        found = error.strerror or str(error)
        wanted, remedy = "a place for the result", "send it elsewhere, or free some space"
        raise InputError("stdout", found=found, wanted=wanted, remedy=remedy) from error


def path_column(path: Path | str) -> str:
    """Return a path as the first of two columns: what would end the column or the line is written as in Python."""
    return str(path).translate({ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"})


def note(line: str) -> None:
    """Write one line to the person."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
