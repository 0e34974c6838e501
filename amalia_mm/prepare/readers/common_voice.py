"""Common Voice: `train.tsv`, `dev.tsv`, `test.tsv` (or `validated.tsv`) beside a folder `clips`.

Columns read: client_id, path, sentence, accents (once `accent`), variant; lengths from `clip_durations.tsv`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amalia_mm.data.schema import Split
from amalia_mm.prepare.accents import variety_of_accent
from amalia_mm.prepare.readers.row import SPLITS, CorpusRow, Reading, seconds_of
from amalia_mm.prepare.readers.table import first_folder, table_rows
from amalia_mm.variety import Variety

LICENCE = "CC0-1.0"
_REQUIRED = ("client_id", "path", "sentence")


def read_common_voice(path: Path, reading: Reading) -> Iterator[CorpusRow]:
    """Yield the clips of a release, or of its folder of one language.

    The variety is what the accent says, and unknown where it says nothing: most volunteers leave it out.
    """
    folder = first_folder(path, ("pt",), "*.tsv")
    folder = folder if (folder / "clips").is_dir() else first_folder(folder, ("pt",), "clips")
    durations_s = _durations_s(folder)
    held_out_clips: set[str] = set()
    held_out_speakers: set[str] = set()
    for table in ("test", "dev") if reading.validated else ("train", "dev", "test"):
        for row in _rows(folder, f"{table}.tsv", SPLITS[table], durations_s, reading):
            held_out_clips.add(row.fields["path"])
            held_out_speakers.add(row.speaker)
            yield row
    if not reading.validated:
        return
    for row in _rows(folder, "validated.tsv", "train", durations_s, reading):
        if row.fields["path"] in held_out_clips:
            continue  # it was given already
        if row.speaker in held_out_speakers:
            reading.notes["validated clips of speakers of dev or test, left out"] += 1
        else:
            yield row


def _rows(
    folder: Path, name: str, split: Split, durations_s: dict[str, float], reading: Reading
) -> Iterator[CorpusRow]:
    if not (folder / name).is_file() and name != "validated.tsv":
        reading.notes[f"no {name}"] += 1
        return
    for where, row, fault in table_rows(folder / name, required=_REQUIRED):
        file = row["path"] if "." in row["path"] else f"{row['path']}.mp3"
        yield CorpusRow(
            where=where,
            id=Path(file).stem,
            audio=folder / "clips" / file if row["path"] else None,
            text=row["sentence"],
            speaker=row["client_id"],
            variety=_variety(row, reading),
            split=split,
            licence=LICENCE,
            promised_s=durations_s.get(file),
            fields=row,
            fault=fault,
        )


def _variety(row: dict[str, str], reading: Reading) -> Variety:
    for column in ("variant", "accents", "accent"):
        variety = variety_of_accent(row.get(column, ""), reading.notes)
        if variety is not Variety.UNKNOWN:
            return variety
    return Variety.UNKNOWN


def _durations_s(folder: Path) -> dict[str, float]:
    path = folder / "clip_durations.tsv"
    if not path.is_file():
        return {}
    rows = table_rows(path, columns=("clip", "milliseconds"))
    lengths = {row["clip"]: seconds_of(row["milliseconds"], 0.001) for _, row, _ in rows}
    return {clip: seconds for clip, seconds in lengths.items() if seconds is not None}
