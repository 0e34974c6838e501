"""What a conversation must be to be learned from, and a long one in parts: whole questions with their answers.

It knows turns; it does not know where they come from, and how long each is it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from amalia_mm.batch import Turn

TooLong = Literal["split", "refuse", "cut"]
"""What happens to a conversation longer than a row. It is split before questions, each part beginning with what the
system says, and an exchange that fits no row is refused; or it is refused whole; or it is cut wherever a row ends, as
documents are, and its later pieces are learned without what stands before them. All three are counted and told."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a conversation: in which turn, in its `role` or `text`; None is the whole of it."""

    turn: int | None
    field: str
    found: str
    wanted: str


def fault_in(turns: Sequence[Turn]) -> Fault | None:
    """Return the first thing for which a conversation cannot be learned from; None where it can.

    The system speaks first or not at all, the others in turns, nobody says nothing, and the assistant answers.
    """
    for number, turn in enumerate(turns):
        if turn.role == "system" and number:
            return Fault(
                number, "role", f"the system in turn {number + 1}", "the system first, or not at all"
            )
        if number and turn.role == turns[number - 1].role:
            wanted = "user and assistant in turns; join what one says in a row"
            return Fault(number, "role", f"two turns of the {turn.role} in a row", wanted)
        if not turn.text.strip() and not turn.has_audio:
            return Fault(number, "text", f"an empty turn of the {turn.role}", "words")
    if not any(turn.role == "assistant" for turn in turns):
        return Fault(None, "", "no assistant turn", "at least one: it is what is learned")
    return None


def split_conversation(
    turns: Sequence[Turn], lengths: Sequence[int], most: int
) -> tuple[list[tuple[Turn, ...]], list[int]]:
    """Return the parts of a conversation that fit, in order, and the lengths of the exchanges that fit in none.

    An exchange is what one side asks and the other answers; as many as fit are one part. What the system says at the
    beginning stands before each part, and is counted in each. What nobody answers is in no part.

    Args:
        turns: The conversation.
        lengths: How long each turn is, in tokens or in bytes.
        most: How long a part may be, its turns together.
    """
    first = next((number for number, turn in enumerate(turns) if turn.role != "system"), len(turns))
    room = most - sum(lengths[:first])
    parts: list[tuple[Turn, ...]] = [()]
    too_long: list[int] = []
    length = 0
    for start, stop in _exchanges(turns, first):
        exchange, added = tuple(turns[start:stop]), sum(lengths[start:stop])
        if added > room:
            too_long.append(added + most - room)
        if added > room or length + added > room:
            parts.append(())
            length = 0
        if added <= room:
            parts[-1] = (*parts[-1], *exchange)
            length += added
    answered = [part for part in parts if any(turn.role == "assistant" for turn in part)]
    return [(*turns[:first], *part) for part in answered], too_long


def _exchanges(turns: Sequence[Turn], first: int) -> list[tuple[int, int]]:
    """Return where exchanges begin and end: each goes up to the last answer before somebody asks again."""
    starts = [
        number
        for number in range(first, len(turns))
        if number == first or (turns[number].role != "assistant" and turns[number - 1].role == "assistant")
    ]
    return list(pairwise([*starts, len(turns)]))
