"""`amalia chat`: a written conversation in a terminal, answered as it is written.

Ctrl-C stops an answer, and at the prompt ends the conversation; nothing is left half done. It knows nothing
of models: it is handed something that replies.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

from amalia_mm.batch import Turn
from amalia_mm.errors import InputError
from amalia_mm.terminal import piece, result

PROMPT = "tu> "
WELCOME = "Escreve e carrega em Enter. /nova começa outra conversa; /sair, Ctrl-D ou Ctrl-C acabam.\n"
FAREWELL = "Até à próxima.\n"


class Replies(Protocol):
    """Whatever continues a conversation; `assistant.Assistant` does."""

    def reply(self, turns: Sequence[Turn]) -> Iterator[str]:
        """Yield the next turn in pieces of text."""
        ...


def chat(assistant: Replies) -> None:
    """Read lines from stdin and write each answer to stdout until the end of input; notes go to stderr."""
    turns: list[Turn] = []
    if sys.stdin.isatty():
        _note(WELCOME)
    while (line := _read_line()) is not None:
        text = line.strip()
        if text == "/sair":
            break
        if text == "/nova":
            turns = []
            _note("(conversa nova)\n")
        elif text:
            turns = _answer(assistant, [*turns, Turn("user", text)])
    if sys.stdin.isatty():
        _note(FAREWELL)


def _read_line() -> str | None:
    """Return the next line, or None at the end of input and at Ctrl-C."""
    try:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return _readable(sys.stdin.readline()) or None
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (arrow keys and history)
        return _readable(input(PROMPT))
    except (KeyboardInterrupt, EOFError):
        _note("\n")
        return None


def _readable(line: str) -> str:
    """Return a line in which bytes that are not UTF-8 are marks of what could not be read."""
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _answer(assistant: Replies, turns: list[Turn]) -> list[Turn]:
    """Write the answer and return the conversation with it, begun anew where it no longer fits."""
    pieces: list[str] = []
    try:
        for part in assistant.reply(turns):
            pieces.append(part)
            piece(part)
    except KeyboardInterrupt:
        _note(" (interrompida)")
    except InputError as error:
        if len(turns) == 1:
            raise
        _note(f"({error}; a conversa recomeça com a última pergunta)\n")
        return _answer(assistant, turns[-1:])
    result("")
    return [*turns, Turn("assistant", "".join(pieces))]


def _note(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
