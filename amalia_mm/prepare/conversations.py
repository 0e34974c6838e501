"""A row of JSON to the turns of a conversation, in the three shapes in which people keep them.

It knows fields; it does not know files or shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from amalia_mm.batch import Role, Turn
from amalia_mm.data.conversation import fault_in
from amalia_mm.errors import InputError
from amalia_mm.prepare.rows import fail, optional, required, writable

_ROLES: Mapping[str, Role] = MappingProxyType({"system": "system", "user": "user", "assistant": "assistant"})
_SHAREGPT_ROLES: Mapping[str, Role] = MappingProxyType({**_ROLES, "human": "user", "gpt": "assistant"})
_SHAPES = MappingProxyType(
    {"messages": ("role", "content", _ROLES), "conversations": ("from", "value", _SHAREGPT_ROLES)}
)
"""Field -> what a message calls who speaks and what is said, and the names of those who speak."""

_REMEDY = "correct the row"


class UnknownSpeakerError(InputError):
    """Somebody speaks who is none of system, user and assistant, such as a tool."""


def turns_of_row(row: Mapping[str, Any], where: str) -> tuple[Turn, ...] | None:
    """Return the turns of a row, None where it has none.

    They are `messages` (`role`, `content`), `conversations` (`from`, `value`; the shape of ShareGPT), or an
    `instruction` with its `input` (if any) and `output`; what `system` says, if it is there, stands before them.

    Raises:
        InputError: A field is of another type than it should be.
        UnknownSpeakerError: A message is of somebody else than system, user and assistant.
    """
    for field in _SHAPES:
        if row.get(field) is not None:
            return after_system(row, turns_in(row[field], field, where), where)
    if row.get("instruction") is None:
        return None
    asked = [required(row, "instruction", where), optional(row, "input", where)]
    required(row, "output", where)
    answer = str(row["output"])  # as it stands, as in messages
    turns = Turn("user", "\n".join(part for part in asked if part)), Turn("assistant", answer)
    return after_system(row, turns, where)


def after_system(row: Mapping[str, Any], turns: tuple[Turn, ...], where: str) -> tuple[Turn, ...]:
    """Return turns after what the row's `system` says, which many sets keep beside them."""
    said = optional(row, "system", where)
    if not said or (turns and turns[0].role == "system" and turns[0].text.strip() == said):
        return turns
    if turns and turns[0].role == "system":
        fail(where, "system", "beside messages that begin with another", "one of the two", _REMEDY)
    return Turn("system", said), *turns


def turns_in(messages: object, field: str, where: str) -> tuple[Turn, ...]:
    """Return the turns of a list of messages, in the shape of that field; others are read as `messages` are."""
    role_field, text_field, roles = _SHAPES.get(field, _SHAPES["messages"])
    wanted = f"an object with {role_field} and {text_field}"
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        fail(where, field, repr(messages), f"a list, each {wanted}", _REMEDY)
    for number, message in enumerate(messages):
        place = f"{field}[{number}]"
        if not isinstance(message, Mapping):
            fail(where, place, repr(message), wanted, _REMEDY)
        role, known = message.get(role_field), "one of " + ", ".join(roles)
        if not isinstance(role, str):
            fail(where, f"{place}.{role_field}", repr(role), known, _REMEDY)
        if role not in roles:
            # Before any text is looked at: who calls a tool says nothing.
            place = f"{place}.{role_field}"
            raise UnknownSpeakerError(where, field=place, found=repr(role), wanted=known, remedy=_REMEDY)
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        place, text = f"{field}[{number}].{text_field}", message.get(text_field)
        if not isinstance(text, str):
            fail(where, place, repr(text), "a string", _REMEDY)
        # As it stands: an answer may begin with the spaces that its code needs.
        turns.append(Turn(roles[message[role_field]], writable(text, place, where)))
    return tuple(turns)


def fault_of_row(row: Mapping[str, Any], turns: Sequence[Turn], where: str) -> InputError | None:
    """Return why the turns of a row cannot be learned from, naming the field of the row; None where they can."""
    fault = fault_in(turns)
    if fault is None:
        return None
    field = next((name for name in _SHAPES if row.get(name) is not None), "instruction")
    if fault.turn is not None and field in _SHAPES:
        role_field, text_field, _ = _SHAPES[field]
        number = fault.turn - (len(turns) - len(row[field]))  # a `system` beside them is none of them
        field = f"{field}[{number}].{role_field if fault.field == 'role' else text_field}"
    return InputError(where, field=field, found=fault.found, wanted=fault.wanted, remedy=_REMEDY)
