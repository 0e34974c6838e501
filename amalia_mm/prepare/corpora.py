"""The user's own data: manifests of recordings, and files of text, read and checked but not yet decoded.

It knows formats, fields and varieties; it does not know shards, voices or training.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast, get_args

from amalia_mm.batch import Role, Turn
from amalia_mm.data.schema import Split
from amalia_mm.errors import InputError
from amalia_mm.prepare.sentences import split_of
from amalia_mm.variety import Variety

TEXT_SUFFIXES = (".txt", ".jsonl", ".tsv")

_SPLITS: Mapping[str, Split] = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    "test": "test",
}
_ROLES = get_args(Role)


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
    for where, row in _json_rows(path):
        audio = _required(row, "audio", where)
        if "text" in row and row["text"] is None:
            notes["no text (null)"] += 1
            continue
        text = _required(row, "text", where)
        identity = _optional(row, "id", where) or str(Path(audio).with_suffix(""))
        if identity in ids and _optional(row, "id", where) is None:
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
                speaker=_optional(row, "speaker", where) or "",
                variety=_variety(row, where, notes),
                split=_split(row, text, where),
                licence=_optional(row, "licence", where) or "",
            )
        )
    if not recordings:
        _fail(path, "text", "no row with text", "recordings with what is said in them", "add their texts")
    return recordings, notes


def read_text(path: Path) -> tuple[list[Written], Counter[str]]:
    """Return the documents and conversations of a file or folder, and what was left out, counted by reason.

    - `.txt`: a document is what stands between blank lines, or a line where the file has no blank lines;
    - `.jsonl`: a document is a `text`; a conversation is `messages` (`role`, `content`), or an `instruction`
      with its `input` (if any) and `output`;
    - `.tsv` with a header: a document is a `text`.

    A folder is read with those below it; files with other endings are counted and not read.

    Raises:
        InputError: Nothing can be read there, a file is not UTF-8 (it names the byte), or a row has none of
            these fields (it names file, line and field).
    """
    if not path.exists():
        _fail(path, "", "no such file or folder", "a file or folder of text", "check the path")
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
        _fail(
            path, "", path.suffix or "no ending", "one of " + ", ".join(TEXT_SUFFIXES), "convert or rename it"
        )
    if not written:
        _fail(path, "", "no text in it", "at least one document", "check the path and the files")
    return written, notes


def _files_below(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        found, remedy = error.strerror or str(error), "change its permissions, or leave it out"
        _fail(error.filename or folder, "", found, "a folder that can be read", remedy)

    for place, _, names in os.walk(folder, onerror=fail):
        yield from (Path(place) / name for name in names)


def _read_txt(path: Path, source: str, notes: Counter[str]) -> Iterator[Written]:
    lines = [line.strip() for line in _content(path).split("\n")]
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
    rows = csv.DictReader(_content(path).split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    if "text" not in (rows.fieldnames or ()):
        found = ", ".join(rows.fieldnames or ()) or "an empty file"
        _fail(
            f"{path}:1", "text", found, "a header with a column `text`", "name the column that holds the text"
        )
    for row in rows:
        where = f"{path}:{rows.line_num}"
        if (row["text"] or "").strip():
            yield Written(where, source, _variety(row, where, notes), row["text"].strip())
        else:
            notes["an empty text"] += 1


def _read_jsonl(path: Path, source: str, notes: Counter[str]) -> Iterator[Written]:
    for where, row in _json_rows(path):
        variety = _variety(row, where, notes)
        if row.get("messages") is not None or row.get("instruction") is not None:
            # Some sets keep the whole conversation again as one text, or an empty one.
            notes.update(["text beside a conversation is not read"] * bool(row.get("text")))
            turns = _messages(row, where) if row.get("messages") is not None else _instruction(row, where)
            if any(turn.role == "assistant" for turn in turns):
                yield Written(where, source, variety, turns=turns)
            else:
                notes["a conversation in which nobody answers"] += 1
        elif row.get("text") is None and "text" in row:
            notes["no text (null)"] += 1
        else:
            wanted = "a string; `text`, `messages`, or `instruction` and `output`"
            text = _required(row, "text", where, wanted=wanted, may_be_empty=True)
            if text:
                yield Written(where, source, variety, text)
            else:
                notes["an empty text"] += 1


_READERS = {".txt": _read_txt, ".jsonl": _read_jsonl, ".tsv": _read_tsv}


def _messages(row: Mapping[str, Any], where: str) -> tuple[Turn, ...]:
    messages = row["messages"]
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        _fail(where, "messages", repr(messages), "a list of objects with role and content", "correct the row")
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        field = f"messages[{number}]"
        if not isinstance(message, Mapping):
            _fail(where, field, repr(message), "an object with role and content", "correct the row")
        role = message.get("role")
        if role not in _ROLES:
            _fail(where, f"{field}.role", repr(role), "one of " + ", ".join(_ROLES), "correct the row")
        content = message.get("content")
        if not isinstance(content, str):
            _fail(where, f"{field}.content", repr(content), "a string", "correct the row")
        content = _writable(content, f"{field}.content", where)
        turns.append(Turn(cast(Role, role), content.strip()))
    return tuple(turns)


def _instruction(row: Mapping[str, Any], where: str) -> tuple[Turn, ...]:
    asked = [_required(row, "instruction", where), _optional(row, "input", where)]
    answer = _required(row, "output", where)
    return Turn("user", "\n".join(part for part in asked if part)), Turn("assistant", answer)


def _variety(row: Mapping[str, Any], where: str, notes: Counter[str]) -> Variety:
    """Return what the row says of its variety; the description of another system's manifest is OTHER."""
    for field in ("variety", "variant", "lang", "language"):
        code = _optional(row, field, where)
        if code:
            try:
                return Variety.parse(code, where)
            except InputError:
                notes[f"{field} {code[:40]!r} taken as {Variety.OTHER.value}"] += 1
                return Variety.OTHER
    return Variety.UNKNOWN


def _split(row: Mapping[str, Any], text: str, where: str) -> Split:
    name = _optional(row, "split", where)
    if not name:
        return split_of(text)
    if name.lower() not in _SPLITS:
        _fail(
            where,
            "split",
            repr(name),
            "one of " + ", ".join(_SPLITS),
            "correct the row or leave the field out",
        )
    return _SPLITS[name.lower()]


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_content(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                where,
                field=f"column {error.colno}",
                found=error.msg,
                wanted="a JSON object in one line",
                remedy="correct the line",
            ) from error
        except (
            ValueError,
            RecursionError,
        ) as error:  # a number of thousands of digits, or lists in lists in lists
            _fail(where, "", str(error), "a JSON object in one line", "correct the line")
        if not isinstance(row, dict):
            _fail(where, "", type(row).__name__, "a JSON object in one line", "correct the line")
        yield where, row


def _content(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            path,
            found=error.strerror or str(error),
            wanted="a file that can be read",
            remedy="check the path",
        ) from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "ISO-8859-1"
        raise InputError(
            path,
            field=f"byte {error.start}",
            found=f"0x{content[error.start]:02x}, which is not UTF-8",
            wanted="UTF-8 text",
            remedy=f"convert it: iconv -f {encoding} -t UTF-8 {path.name}",
        ) from error
    if "\0" in text:
        _fail(path, f"byte {content.index(0)}", "a zero byte", "UTF-8 text", "check what kind of file it is")
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _required(
    row: Mapping[str, Any], field: str, where: str, *, wanted: str = "a string", may_be_empty: bool = False
) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not (value.strip() or may_be_empty):
        found = repr(value) if field in row else f"no such field among {', '.join(map(str, row)) or 'none'}"
        _fail(where, field, found, wanted, "fill it in or remove the row")
    return _writable(value, field, where).strip()


def _optional(row: Mapping[str, Any], field: str, where: str) -> str | None:
    value = row.get(field)
    if isinstance(value, int) and field in ("id", "speaker"):
        value = str(value)
    if value is not None and not isinstance(value, str):
        _fail(where, field, repr(value), "a string", "correct the row")
    return _writable(value, field, where).strip() if value else None


def _writable(value: str, field: str, where: str) -> str:
    """Return a string as it is; JSON can hold zero bytes and half characters, which no file takes."""
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        _fail(where, field, ascii(value), "text that UTF-8 can hold", "correct the row")
    return value


def _fail(where: str | Path, field: str, found: str, wanted: str, remedy: str) -> NoReturn:
    raise InputError(where, field=field, found=found, wanted=wanted, remedy=remedy)
