"""VoxPopuli's transcribed part: `asr_train.tsv`, `asr_dev.tsv`, `asr_test.tsv`, and clips by year or by split.

Columns read: id, raw_text, normalized_text, speaker_id. Portuguese has none of its own: the layout serves whoever
transcribed some, and its other languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amalia_mm.prepare.readers.row import SPLITS, CorpusRow, Reading
from amalia_mm.prepare.readers.table import first_folder, table_rows

LICENCE = "CC0-1.0"
_SUFFIXES = (".ogg", ".wav", ".flac")


def read_voxpopuli(path: Path, reading: Reading) -> Iterator[CorpusRow]:
    """Yield the clips of a language's folder, or of the root that holds it.

    Nobody has checked the variety of its speakers: it stays unknown.
    """
    folder = first_folder(path, ("transcribed_data/pt", "pt"), "asr_*.tsv")
    places: dict[str, Path] | None = None
    for name in ("train", "dev", "test"):
        table = folder / f"asr_{name}.tsv"
        if not table.is_file():
            reading.notes[f"no {table.name}"] += 1
            continue
        for where, row, fault in table_rows(
            table, required=("id", "raw_text", "normalized_text", "speaker_id")
        ):
            audio = folder / row["id"][:4] / f"{row['id']}.ogg"
            if not audio.is_file():
                places = _places(folder) if places is None else places
                audio = places.get(row["id"], audio)
            text = row["raw_text"] or row["normalized_text"]
            if not row["raw_text"] and text:
                reading.notes["normalised text in place of the original, which is empty"] += 1
            yield CorpusRow(
                where=where,
                id=row["id"],
                audio=audio if row["id"] else None,
                text=text,
                speaker="" if row["speaker_id"] == "None" else row["speaker_id"],
                split=SPLITS[name],
                licence=LICENCE,
                fields=row,
                fault=fault,
            )


def _places(folder: Path) -> dict[str, Path]:
    """Return every clip below the folder by its name: some releases keep them by split and part."""
    return {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix in _SUFFIXES}
