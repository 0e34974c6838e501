"""What is measured on: typed rows of `test.jsonl`, `text_test.jsonl` and `pairs.jsonl`, checked when read.

It knows the files' fields and nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from amalia_mm.errors import InputError
from amalia_mm.json_rows import json_rows
from amalia_mm.text.chat import INSTRUCTIONS, instruction

SYNTHETIC = "synthetic"
"""The source of the built-in sentences; rows of any other source are the user's own and scored apart."""

ItemT = TypeVar("ItemT")
_HELDOUT = {"seen_template": False, "heldout_template": True}


@dataclass(frozen=True)
class SpokenItem:
    """One clip and what is said in it; where it is not to be transcribed, with the answer wanted and its kind."""

    id: str
    audio: Path
    text: str
    voice: str
    source: str
    task: str
    is_new_template: bool
    answer: str | None = None
    kind: str | None = None
    instruction: str = ""
    """What is to be done with what is said; "" answers it."""

    @property
    def is_synthetic(self) -> bool:
        """Whether the clip is of the built-in corpus."""
        return self.source.startswith(SYNTHETIC)


@dataclass(frozen=True)
class WrittenQuestion:
    """A written question, its answer, and its kind (known, reformulated, context or arithmetic)."""

    question: str
    answer: str
    kind: str


@dataclass(frozen=True)
class MinimalPair:
    """The same sentence in European and in Brazilian Portuguese, and the contrast between them."""

    european: str
    brazilian: str
    contrast: str
    in_vocabulary: bool
    """Whether training has every word of the European member."""


def read_spoken(path: Path) -> list[SpokenItem]:
    """Return the rows of a manifest that have audio; audio paths are relative to the manifest.

    Raises:
        InputError: The file, a field or an audio file is missing, a clip that is not to be transcribed has no answer,
            or its task is unknown and it has no `instruction`.
    """
    items: list[SpokenItem] = []
    for where, row in json_rows(path):
        if row.get("audio") is None:
            continue
        task = row.get("task") or "transcribe"
        is_asked = task != "transcribe"
        audio = path.parent / _text(row, "audio", where)
        if not audio.is_file():
            raise InputError(
                where,
                field="audio",
                found=audio,
                wanted="an audio file",
                remedy="correct the path or copy the file",
            )
        items.append(
            SpokenItem(
                id=str(row.get("id") or audio.stem),
                audio=audio,
                text=_text(row, "text", where),
                voice=str(row.get("voice") or row.get("speaker") or "?"),
                source=str(row.get("source") or SYNTHETIC),
                task=task,
                is_new_template=_is_new_template(row, where),
                answer=_text(row, "answer", where) if is_asked else None,
                kind=str(row.get("kind") or "?") if is_asked else None,
                instruction=_instruction(row, task, where) if is_asked else "",
            )
        )
    return _some(items, path, "a row with audio")


def read_recordings(path: Path, split: str) -> list[SpokenItem]:
    """Return the rows of a manifest of recordings that have a text and are of a split, or of none.

    Raises:
        InputError: The file, a field or an audio file is missing, or no row is left.
    """
    items: list[SpokenItem] = []
    for where, row in json_rows(path):
        if row.get("text", "") is None or (row.get("split") or split) != split:
            continue
        audio = path.parent / _text(row, "audio", where)
        if not audio.is_file():
            remedy = "correct the path or copy the file"
            raise InputError(where, field="audio", found=audio, wanted="an audio file", remedy=remedy)
        items.append(
            SpokenItem(
                id=str(row.get("id") or Path(str(row["audio"])).with_suffix("")),
                audio=audio,
                text=_text(row, "text", where),
                voice=str(row.get("speaker") or "?"),
                source=path.stem,
                task="transcribe",
                is_new_template=False,
            )
        )
    return _some(items, path, f"a row with text that is of split {split}, or of none")


def read_questions(path: Path) -> list[WrittenQuestion]:
    """Return the written questions of a file; `InputError` where the file or a field is missing."""
    questions = [
        WrittenQuestion(_text(row, "question", where), _text(row, "answer", where), _text(row, "kind", where))
        for where, row in json_rows(path)
    ]
    return _some(questions, path, "a question")


def read_pairs(path: Path) -> list[MinimalPair]:
    """Return the minimal pairs of a file; `InputError` where the file or a field is missing."""
    pairs = [
        MinimalPair(
            _text(row, "european", where),
            _text(row, "brazilian", where),
            contrast=str(row.get("contrast") or "?"),
            in_vocabulary=row.get("in_vocabulary") is True,
        )
        for where, row in json_rows(path)
    ]
    return _some(pairs, path, "a pair")


def read_texts(path: Path) -> set[str]:
    """Return the distinct texts of a manifest, with or without audio; `InputError` where it is damaged."""
    return {row["text"] for _, row in json_rows(path) if isinstance(row.get("text"), str)}


def _some(items: list[ItemT], path: Path, wanted: str) -> list[ItemT]:
    if not items:
        remedy = "remove the file if there is nothing to measure there, or prepare the data again"
        raise InputError(path, found="none", wanted=wanted, remedy=remedy)
    return items


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            where, field=field, found=repr(value), wanted="text", remedy="fill the field or drop the row"
        )
    return value


def _instruction(row: Mapping[str, Any], task: str, where: str) -> str:
    """Return the instruction of a row, or that of its task."""
    if row.get("instruction") is not None:
        return _text(row, "instruction", where)
    if task not in INSTRUCTIONS:
        wanted, remedy = ", ".join(INSTRUCTIONS), "correct the row, or give it an `instruction`"
        raise InputError(where, field="task", found=repr(task), wanted=wanted, remedy=remedy)
    return instruction(task)


def _is_new_template(row: Mapping[str, Any], where: str) -> bool:
    heldout = row.get("heldout") or "seen_template"
    if heldout not in _HELDOUT:
        wanted = " or ".join(_HELDOUT)
        raise InputError(where, field="heldout", found=repr(heldout), wanted=wanted, remedy="correct the row")
    return _HELDOUT[heldout]
