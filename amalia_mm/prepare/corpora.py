"""The user's own data: manifests of recordings, and files of text, read and checked but not yet decoded.

It knows formats, fields and varieties; it does not know shards, voices or training.
"""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amalia_mm.batch import Turn
from amalia_mm.data.schema import Split
from amalia_mm.errors import InputError
from amalia_mm.json_rows import content_of, json_rows
from amalia_mm.prepare.conversations import UnknownSpeakerError, fault_of_row, turns_of_row
from amalia_mm.prepare.rows import fail, optional, required
from amalia_mm.prepare.sentences import split_of
from amalia_mm.variety import Variety

TEXT_SUFFIXES = (".txt", ".jsonl", ".tsv")

_SPLITS: Mapping[str, Split] = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    "test": "test",
}
NOBODY_ANSWERS = "a conversation in which nobody answers"
UNKNOWN_SPEAKER = "a conversation with somebody else than system, user and assistant"
NOT_IN_TURNS = (
    "a conversation in which one says nothing, or speaks twice in a row, or the system not at first"
)
_MOST_TOLD = 10
"""Conversations left out that are told one by one; after that they are only counted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """One row of a manifest: a clip and what is said in it. Nobody has opened `audio` yet."""

    where: str
    source: str
    id: str
    audio: Path
    text: str
    speaker: str
    variety: Variety
    split: Split
    licence: str


@dataclass(frozen=True)
class Written:
    """One document (`text`) or conversation (`turns`) of the user's, and where it stands."""

    where: str
    source: str
    variety: Variety
    text: str = ""
    turns: tuple[Turn, ...] = ()


def read_speech_manifest(path: Path) -> tuple[list[Recording], Counter[str]]:
    """Return the recordings of a JSONL manifest, and what was left out or changed, counted by reason.

    Fields: `audio` (relative to the manifest) and `text`; optional `id`, `speaker`, `variety`, `lang`,
    `split` and `licence`. A row whose `text` is null is left out. A row without a `split` gets one from its
    words; one whose `variety` is none of ours counts as other.

    Raises:
        InputError: The file cannot be read or has no row with text, or a row has no audio or text, or a field
            of another type or value; it names file, line and field.
    """
    recordings: list[Recording] = []
    notes: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for where, row in json_rows(path):
        audio = required(row, "audio", where)
        if "text" in row and row["text"] is None:
            notes["no text (null)"] += 1
            continue
        text = required(row, "text", where)
        identity = optional(row, "id", where) or str(Path(audio).with_suffix(""))
        if identity in ids and optional(row, "id", where) is None:
            identity = f"{identity}@{where.rpartition(':')[2]}"
        if identity in ids:
            found = f"{identity}, as in {ids[identity]}"
            raise InputError(
                where, field="id", found=found, wanted="an id of its own", remedy="change one of them"
            )
        ids[identity] = where
        recordings.append(
            Recording(
                where=where,
                source=f"speech:{path.resolve().parent.name}/{path.stem}",
                id=identity,
                audio=path.parent / audio,
                text=text,
                speaker=optional(row, "speaker", where) or "",
                variety=_variety(row, where, notes),
                split=_split(row, text, where),
                licence=optional(row, "licence", where) or "",
            )
        )
    if not recordings:
        fail(path, "text", "no row with text", "recordings with what is said in them", "add their texts")
    return recordings, notes


def read_text(path: Path) -> tuple[list[Written], Counter[str]]:
    """Return the documents and conversations of a file or folder, and what was left out, counted by reason.

    - `.txt`: a document is what stands between blank lines, or a line where the file has no blank lines;
    - `.jsonl`: a document is a `text`; a conversation is `messages` (`role`, `content`), `conversations` (`from`,
      `value`), or an `instruction` with its `input` (if any) and `output`; `system` beside them stands before them;
    - `.tsv` with a header: a document is a `text`.

    A folder is read with those below it; files with other endings are counted and not read.

    Raises:
        InputError: Nothing can be read there, a file is not UTF-8 (it names the byte), or a row has none of
            these fields (it names file, line and field).
    """
    if not path.exists():
        fail(path, "", "no such file or folder", "a file or folder of text", "check the path")
    notes: Counter[str] = Counter()
    written: list[Written] = []
    paths = sorted(_files_below(path)) if path.is_dir() else [path]
    for file in paths:
        if not file.is_file():
            notes["not a file that can be read"] += 1
        elif file.suffix.lower() in TEXT_SUFFIXES:
            written += _READERS[file.suffix.lower()](file, f"text:{path.name}", notes)
        elif path.is_dir():
            notes[f"a file that is not {', '.join(TEXT_SUFFIXES)}"] += 1
    if path.is_file() and path.suffix.lower() not in TEXT_SUFFIXES:
        fail(
            path, "", path.suffix or "no ending", "one of " + ", ".join(TEXT_SUFFIXES), "convert or rename it"
        )
    if not written:
        why = f" ({', '.join(notes)})" if notes else ""
        fail(path, "", f"no text in it{why}", "at least one document", "check the path and the files")
    return written, notes


def _files_below(folder: Path) -> Iterator[Path]:
    def tell(error: OSError) -> None:
        found, remedy = error.strerror or str(error), "change its permissions, or leave it out"
        fail(error.filename or folder, "", found, "a folder that can be read", remedy)

    for place, _, names in os.walk(folder, onerror=tell):
        yield from (Path(place) / name for name in names)


def _read_txt(path: Path, source: str, notes: Counter[str]) -> Iterator[Written]:
    lines = [line.strip() for line in content_of(path).split("\n")]
    has_paragraphs = any(not line for line in lines[:-1])
    block: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        if line:
            block.append(line)
        if block and (not line or not has_paragraphs):
            first = number - len(block) + bool(line)
            yield Written(f"{path}:{first}", source, Variety.UNKNOWN, "\n".join(block))
            block = []


def _read_tsv(path: Path, source: str, notes: Counter[str]) -> Iterator[Written]:
    csv.field_size_limit(2**31 - 1)  # the library's own, 128 KiB, is less than a book
    rows = csv.DictReader(content_of(path).split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    if "text" not in (rows.fieldnames or ()):
        found = ", ".join(rows.fieldnames or ()) or "an empty file"
        fail(
            f"{path}:1", "text", found, "a header with a column `text`", "name the column that holds the text"
        )
    for row in rows:
        where = f"{path}:{rows.line_num}"
        if (row["text"] or "").strip():
            yield Written(where, source, _variety(row, where, notes), row["text"].strip())
        else:
            notes["an empty text"] += 1


def _read_jsonl(path: Path, source: str, notes: Counter[str]) -> Iterator[Written]:
    for where, row in json_rows(path):
        variety = _variety(row, where, notes)
        try:
            turns = turns_of_row(row, where)
        except UnknownSpeakerError as fault:
            _leave_out(fault, UNKNOWN_SPEAKER, notes)
            continue
        if turns is not None:
            # Some sets keep the whole conversation again as one text, or an empty one.
            notes.update(["text beside a conversation is not read"] * bool(row.get("text")))
            fault = fault_of_row(row, turns, where)
            if fault is None:
                yield Written(where, source, variety, turns=turns)
                continue
            reason = NOT_IN_TURNS if any(turn.role == "assistant" for turn in turns) else NOBODY_ANSWERS
            _leave_out(fault, reason, notes)
        elif row.get("text") is None and "text" in row:
            notes["no text (null)"] += 1
        else:
            wanted = "a string; `text`, `messages`, `conversations`, or `instruction` and `output`"
            text = required(row, "text", where, wanted=wanted, may_be_empty=True)
            if text:
                yield Written(where, source, variety, text)
            else:
                notes["an empty text"] += 1


def _leave_out(fault: InputError, reason: str, notes: Counter[str]) -> None:
    """Count a conversation that is not learned from; the first ones are named."""
    notes[reason] += 1
    if notes[NOT_IN_TURNS] + notes[NOBODY_ANSWERS] + notes[UNKNOWN_SPEAKER] <= _MOST_TOLD:
        _log.warning("left out: %s", fault)


_READERS = {".txt": _read_txt, ".jsonl": _read_jsonl, ".tsv": _read_tsv}


def _variety(row: Mapping[str, Any], where: str, notes: Counter[str]) -> Variety:
    """Return what the row says of its variety; the description of another system's manifest is OTHER."""
    for field in ("variety", "variant", "lang", "language"):
        code = optional(row, field, where)
        if code:
            try:
                return Variety.parse(code, where)
            except InputError:
                notes[f"{field} {code[:40]!r} taken as {Variety.OTHER.value}"] += 1
                return Variety.OTHER
    return Variety.UNKNOWN


def _split(row: Mapping[str, Any], text: str, where: str) -> Split:
    name = optional(row, "split", where)
    if not name:
        return split_of(text)
    if name.lower() not in _SPLITS:
        fail(
            where,
            "split",
            repr(name),
            "one of " + ", ".join(_SPLITS),
            "correct the row or leave the field out",
        )
    return _SPLITS[name.lower()]
