"""A user's pairs of preference, JSONL to shards: a prompt, what was chosen and what was rejected.

It knows fields and records; it does not know models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amalia_mm.batch import Turn
from amalia_mm.data.conversation import fault_in
from amalia_mm.data.schema import Record, Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.json_rows import json_rows
from amalia_mm.prepare.conversations import after_system, turns_in
from amalia_mm.prepare.rows import fail, optional, required
from amalia_mm.prepare.sentences import split_of
from amalia_mm.variety import Variety

_REMEDY = "correct the row or remove it"


def write_preferences(paths: Sequence[Path], output: Path, split: Split | None = None) -> int:
    """Return how many pairs were written as shards into a new folder.

    Rows hold `chosen` and `rejected`, and what stands before both: `prompt`, a string or a list of messages (`role`,
    `content`), or `messages`. Either side may also be a whole list of messages that ends with the answer; without a
    prompt, what the two have in common is it. `"prompt": ""` makes a pair of plain documents. `system` stands before
    the prompt; `variety` and `licence` are kept. The split follows from the words of the prompt, so one prompt never
    stands on two sides.

    Args:
        paths: JSONL files.
        output: The folder to write.
        split: Only the pairs of this split; None writes all.

    Raises:
        InputError: A side is missing or empty, both are equal, or their prompts differ; it names file, line and field.
    """
    records = [
        record
        for number, path in enumerate(paths)
        for where, row in json_rows(path)
        if (record := pair_of_row(row, where, f"{number}-{where.rpartition(':')[2]}", path.name))
        and split in (None, record.split)
    ]
    if not records:
        found = "no pair" if split is None else f"no pair for {split}"
        remedy = "give rows with prompt, chosen and rejected"
        raise InputError(paths[0], found=found, wanted="at least one", remedy=remedy)
    with ShardWriter(output) as writer:
        for record in records:
            writer.write(record)
    return len(records)


def pair_of_row(row: Mapping[str, Any], where: str, identity: str, source: str) -> Record:
    """Return the record of a row; `InputError` as `write_preferences`."""
    before = _prompt(row, where)
    (chosen_before, chosen), (rejected_before, rejected) = (
        _side(row, name, where) for name in ("chosen", "rejected")
    )
    shared = after_system(row, _shared_prompt(before, chosen_before, rejected_before, where), where)
    if chosen.strip() == rejected.strip():
        fail(where, "rejected", "the same as chosen", "two different answers", _REMEDY)
    asked = "\n".join(turn.text for turn in shared) or chosen
    answer = (*shared, Turn("assistant", chosen)) if shared else ()
    fault = fault_in(answer) if answer else None
    if fault is not None:
        fail(where, "prompt", fault.found, fault.wanted, _REMEDY)
    return Record(
        id=identity,
        task="preference",
        variety=Variety.parse(optional(row, "variety", where) or Variety.UNKNOWN.value, where),
        speaker="",
        source=f"text:{source}",
        licence=optional(row, "licence", where) or "",
        split=split_of(asked),
        text=None if answer else chosen,
        turns=answer,
        rejected=rejected,
    )


def _prompt(row: Mapping[str, Any], where: str) -> tuple[Turn, ...] | None:
    """Return what stands before both sides, None where only the sides say it."""
    found = [name for name in ("prompt", "messages") if row.get(name) is not None]
    if len(found) == 2:
        fail(where, "messages", "beside a prompt", "one of the two", _REMEDY)
    if not found:
        return None
    value = row[found[0]]
    if isinstance(value, str) and found[0] == "prompt":
        text = required(row, "prompt", where, may_be_empty=True)
        return (Turn("user", text),) if text else ()
    return turns_in(value, found[0], where)


def _side(row: Mapping[str, Any], name: str, where: str) -> tuple[tuple[Turn, ...] | None, str]:
    """Return what a side has before its answer (None where it is the answer alone), and the answer."""
    if not isinstance(row.get(name), list):
        return None, required(row, name, where, wanted="an answer, or messages that end with one")
    turns = turns_in(row[name], name, where)
    is_said = bool(turns and turns[-1].text.strip())
    if not is_said or turns[-1].role != "assistant":
        found = f"a last message of role {turns[-1].role}" if is_said else "no answer"
        fail(where, name, found, "messages that end with the assistant's answer", _REMEDY)
    return turns[:-1], turns[-1].text


def _shared_prompt(
    prompt: tuple[Turn, ...] | None,
    chosen: tuple[Turn, ...] | None,
    rejected: tuple[Turn, ...] | None,
    where: str,
) -> tuple[Turn, ...]:
    """Return the one prompt of both sides; with a `prompt`, a side that is its answer alone says nothing of its own."""
    said = {"chosen": chosen or (), "rejected": rejected or ()}
    if prompt is not None:
        said = {"prompt": prompt, **{name: turns for name, turns in said.items() if turns}}
    elif not any(said.values()):
        fail(
            where, "prompt", "no such field", 'what stands before both sides; "" for plain documents', _REMEDY
        )
    first, wanted = next(iter(said.items()))
    for name, turns in said.items():
        if _essence(turns) != _essence(wanted):
            found = f"{_short(turns)} before the answer, where {first} has {_short(wanted)}"
            fail(where, name, found, "one prompt for both sides", _REMEDY)
    return wanted


def _essence(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """Return what makes two prompts one: space around what is said does not tell them apart."""
    return [(turn.role, turn.text.strip()) for turn in turns]


def _short(turns: Sequence[Turn]) -> str:
    return repr(" / ".join(turn.text for turn in turns)[:60])
