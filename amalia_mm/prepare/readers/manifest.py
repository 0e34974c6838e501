"""Manifests: a `.jsonl`, `.csv` or `.tsv` of which each row names a clip and what is said in it.

Rows of TAGARELA (`path`, `sentence`, `accent`), NeMo (`audio_filepath`, `text`, `duration`) and most others are read
as they are; other names are given. FalAR and CAMÕES are read as manifests, too, and are European.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from amalia_mm.errors import InputError
from amalia_mm.json_rows import json_rows
from amalia_mm.prepare.accents import variety_of_accent
from amalia_mm.prepare.readers.row import SPLITS, CorpusRow, Fault, Reading, seconds_of
from amalia_mm.prepare.readers.table import table_rows
from amalia_mm.variety import Variety

NAMES: Mapping[str, tuple[str, ...]] = {
    "audio": (
        "audio",
        "path",
        "file",
        "file_name",
        "filename",
        "audio_filepath",
        "audio_path",
        "wav",
        "clip",
    ),
    "text": (
        "text",
        "sentence",
        "transcription",
        "transcript",
        "normalized_text",
        "orthographic",
        "reference",
    ),
    "id": ("id", "utt_id", "utterance_id", "segment_id"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "split": ("split", "subset", "partition"),
    "licence": ("licence", "license"),
    "seconds": ("seconds", "duration", "dur", "duration_s", "audio_duration"),
    "variety": ("variety",),
}
"""What a row may call each thing; the first of them that is there counts."""
_ACCENTS = ("variant", "accents", "accent", "dialect")
_LOCALES = ("locale", "lang", "language")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_manifest(
    path: Path, reading: Reading, *, licence: str = "", variety: Variety = Variety.UNKNOWN
) -> Iterator[CorpusRow]:
    """Yield the rows of a manifest; clips lie relative to it.

    Args:
        path: The file, or a folder with one manifest in it.
        reading: Names of fields, where they are others than `NAMES`.
        licence: Of rows that name none.
        variety: Of rows that name none.

    Raises:
        InputError: There is no such file, it is neither, or its rows have no audio or text under these names.
    """
    path = _file(path)
    rows = (
        table_rows(path, delimiter=_DELIMITERS[path.suffix.lower()])
        if path.suffix.lower() in _DELIMITERS
        else None
    )
    seen: set[str] = set()
    for where, row, fault in _flat_rows(path) if rows is None else rows:
        yield row_of(row, where, path.parent, reading, seen, fault=fault, licence=licence, variety=variety)


read_tagarela = partial(read_manifest, licence="CC-BY-NC-SA-4.0")
"""Podcasts with an accent a row."""
read_european = partial(read_manifest, variety=Variety.PT_PT)
"""Corpora that are European by what they are: the parliament of Lisbon (FalAR), a benchmark of pt-PT (CAMÕES)."""


def row_of(
    values: Mapping[str, str | None],
    where: str,
    home: Path,
    reading: Reading,
    seen: set[str],
    *,
    fault: Fault | None = None,
    licence: str = "",
    variety: Variety = Variety.UNKNOWN,
) -> CorpusRow:
    """Return what a row of a manifest says.

    Args:
        values: Its fields, all text; None is a field that is there and empty.
        where: File and line.
        home: The folder that clips are relative to.
        reading: Names of fields.
        seen: The names of fields met so far; the first row must have audio and text.
        fault: What is wrong with it already.
        licence: Where it names none.
        variety: Where it names none.
    """
    row = {name: value for name, value in values.items() if value is not None}
    names = {thing: reading.fields.get(thing) or _first(values, NAMES[thing]) for thing in NAMES}
    if not seen:
        for thing in ("audio", "text"):
            if names[thing] not in values:
                remedy = f"name the field: --field {thing}=NAME"
                wanted = reading.fields.get(thing) or f"one of {', '.join(NAMES[thing])}"
                raise InputError(where, field=thing, found=", ".join(values), wanted=wanted, remedy=remedy)
    seen.update(values)
    audio = row.get(names["audio"], "")
    split = row.get(names["split"], "").lower()
    if split and split not in SPLITS and fault is None:
        fault = Fault("split", split, ", ".join(SPLITS))
    return CorpusRow(
        where=where,
        id=row.get(names["id"]) or (str(Path(audio).with_suffix("")) if audio else ""),
        audio=home / audio if audio else None,
        text=row.get(names["text"]),
        speaker=row.get(names["speaker"], ""),
        variety=_variety(row, names["variety"], where, reading, variety),
        split=SPLITS.get(split),
        licence=row.get(names["licence"]) or licence,
        promised_s=seconds_of(row.get(names["seconds"])),
        fields=row,
        fault=fault,
    )


def text_of(value: Any) -> str | None:
    """Return a value of JSON as text; None stays, of an audio object its path is taken."""
    if value is None or isinstance(value, str):
        return None if value is None else value.strip()
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        return value["path"]
    return json.dumps(value, ensure_ascii=False)


def _flat_rows(path: Path) -> Iterator[tuple[str, dict[str, str | None], Fault | None]]:
    for where, row in json_rows(path):
        texts = {str(name): text_of(value) for name, value in row.items()}
        yield where, texts, _unwritable(texts)


def _unwritable(texts: Mapping[str, str | None]) -> Fault | None:
    for name, text in texts.items():
        if text is not None and ("\0" in text or any("\ud800" <= char <= "\udfff" for char in text)):
            return Fault("characters", f"{name} {ascii(text)[:60]}", "text that UTF-8 can hold")
    return None


def _file(path: Path) -> Path:
    wanted = "one .jsonl, .csv or .tsv"
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in (".jsonl", *_DELIMITERS)]
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or "none"
            raise InputError(path, found=found, wanted=wanted, remedy="give the manifest itself")
        return files[0]
    if path.suffix.lower() not in (".jsonl", *_DELIMITERS):
        raise InputError(path, found=path.suffix or "no ending", wanted=wanted, remedy="convert or rename it")
    return path


def _first(row: Mapping[str, str | None], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in row), names[0])


def _variety(row: Mapping[str, str], own: str, where: str, reading: Reading, default: Variety) -> Variety:
    """Return the variety that a field names; a description that is no code, in a field for codes, is `OTHER`."""
    for field in (own, *_ACCENTS, *_LOCALES):
        code = row.get(field, "")
        if not code:
            continue
        if field in _ACCENTS:
            variety = variety_of_accent(code, reading.notes)
        else:
            try:
                variety = Variety.parse(code, where)
            except InputError:
                reading.notes[f"{field} {code[:40]!r} taken as {Variety.OTHER.value}"] += 1
                return Variety.OTHER
        if variety is not Variety.UNKNOWN:
            return variety
    return default
