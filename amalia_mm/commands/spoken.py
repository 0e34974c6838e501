"""`amalia spoken`: written text as a Portuguese person reads it out.

It imports its room only when it is called.
"""

from __future__ import annotations

import argparse
import sys

from amalia_mm.terminal import note, result

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]


def add_spoken(commands: Commands) -> None:
    """Add `spoken` to the sub-commands."""
    spoken = commands.add_parser(
        "spoken", help="text as it is read out: numbers, times, money and abbreviations in words"
    )
    spoken.add_argument(
        "text", nargs="?", help="the text, in one argument; without it, that of standard input"
    )
    spoken.set_defaults(run=_spoken)


def _spoken(options: argparse.Namespace) -> int:
    from amalia_mm.portuguese.spoken import reading

    found = reading(sys.stdin.read() if options.text is None else options.text)
    if found.told:
        note(f"amalia: {found.told}")
    result(found.text)
    return 0
