"""The two streams of a command: results on stdout for the next program, notes on stderr for the person."""

from __future__ import annotations

import sys


def result(line: str) -> None:
    """Write one line of result at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def note(line: str) -> None:
    """Write one line to the person."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
