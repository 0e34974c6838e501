"""Multilingual LibriSpeech: `{train,dev,test}/transcripts.txt` and `audio/<speaker>/<book>/<id>.flac` or `.opus`.

An id is speaker, book and number. `segments.txt` says how long a clip is, `metainfo.txt` whether its reader is a man
or a woman.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amalia_mm.prepare.readers.row import SPLITS, CorpusRow, Fault, Reading, seconds_of
from amalia_mm.prepare.readers.table import first_folder, table_rows

LICENCE = "CC-BY-4.0"


def read_mls(path: Path, reading: Reading) -> Iterator[CorpusRow]:
    """Yield the clips of a language's folder.

    Most Portuguese readers are Brazilian, but nothing says which: the variety stays unknown unless it is given.
    """
    folder = first_folder(path, ("mls_portuguese", "mls_portuguese_opus"), "*/transcripts.txt")
    genders = _genders(folder / "metainfo.txt")
    for name in ("train", "dev", "test"):
        part = folder / name
        if not (part / "transcripts.txt").is_file():
            reading.notes[f"no {name}/transcripts.txt"] += 1
            continue
        promised_s = _lengths_s(part / "segments.txt")
        for where, row, fault in table_rows(part / "transcripts.txt", columns=("id", "text")):
            speaker, _, rest = row["id"].partition("_")
            book = rest.partition("_")[0]
            if fault is None and not book:
                fault = Fault("id", row["id"], "speaker_book_number")
            fields = {**row, "speaker": speaker, "book": book, "gender": genders.get(speaker, "")}
            yield CorpusRow(
                where=where,
                id=row["id"],
                audio=_clip(part / "audio" / speaker / book, row["id"]) if book else None,
                text=row["text"],
                speaker=speaker,
                split=SPLITS[name],
                licence=LICENCE,
                promised_s=promised_s.get(row["id"]),
                fields=fields,
                fault=fault,
            )


def _clip(folder: Path, name: str) -> Path:
    opus = folder / f"{name}.opus"
    return opus if opus.is_file() else folder / f"{name}.flac"


def _genders(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    rows = table_rows(
        path, delimiter="|", columns=("speaker", "gender", "part", "minutes", "book", "title", "chapter")
    )
    return {row["speaker"]: row["gender"] for _, row, _ in rows}


def _lengths_s(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    lengths: dict[str, float] = {}
    for _, row, _ in table_rows(path, columns=("id", "address", "start", "end")):
        start, end = row["start"], seconds_of(row["end"])
        if end is not None and (seconds := end - (seconds_of(start) or 0.0)) > 0:
            lengths[row["id"]] = seconds
    return lengths
