"""A conversation in parts that a small decoder reads at once: whole questions with their answers, never half of one."""

from __future__ import annotations

from collections.abc import Sequence

from amalia_mm.batch import Turn
from amalia_mm.prepare.sentences import MAX_BYTES

_TEMPLATE_BYTES = 8
"""Of a turn: the tokens that ChatML puts around it."""


def conversation_pieces(
    turns: Sequence[Turn], max_bytes: int = MAX_BYTES
) -> tuple[list[tuple[Turn, ...]], int]:
    """Return the parts of a conversation that fit, in order, and how many exchanges were too long for any.

    An exchange is what one side asks and the other answers; as many as fit are one part. What the system says at the
    beginning stands before each part. What nobody answers is in no part.
    """
    first = next((number for number, turn in enumerate(turns) if turn.role != "system"), len(turns))
    system, parts, num_too_long = tuple(turns[:first]), [], 0
    room = max_bytes - _num_bytes(system)
    part: tuple[Turn, ...] = ()
    for exchange in _exchanges(turns[first:]):
        if _num_bytes(exchange) > room:
            num_too_long += 1
            parts, part = [*parts, part], ()
            continue
        if _num_bytes((*part, *exchange)) > room:
            parts, part = [*parts, part], ()
        part = (*part, *exchange)
    answered = [part for part in [*parts, part] if any(turn.role == "assistant" for turn in part)]
    return [(*system, *part) for part in answered], num_too_long


def _exchanges(turns: Sequence[Turn]) -> list[tuple[Turn, ...]]:
    """Return runs of turns, each up to the last answer before somebody asks again."""
    exchanges: list[tuple[Turn, ...]] = []
    for number, turn in enumerate(turns):
        if number and (turn.role == "assistant" or turns[number - 1].role != "assistant"):
            exchanges[-1] = (*exchanges[-1], turn)
        else:
            exchanges.append((turn,))
    return exchanges


def _num_bytes(turns: Sequence[Turn]) -> int:
    return sum(len(turn.text.encode()) + _TEMPLATE_BYTES for turn in turns)
