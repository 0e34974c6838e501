"""FLEURS: `train.tsv`, `dev.tsv`, `test.tsv` without a header, and clips in `audio/<split>/` or `<split>/`.

Columns: sentence, file, transcription as written, transcription in lower case, characters, samples at 16 kHz, gender.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from amalia_mm.prepare.readers.row import SPLITS, CorpusRow, Reading, seconds_of
from amalia_mm.prepare.readers.table import first_folder, table_rows
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.variety import Variety

LICENCE = "CC-BY-4.0"
COLUMNS = ("sentence", "file", "raw_transcription", "transcription", "characters", "num_samples", "gender")


def read_fleurs(path: Path, reading: Reading) -> Iterator[CorpusRow]:
    """Yield the clips of a locale's folder (`pt_br`: there is no European Portuguese in it).

    The variety is what the folder is called; speakers are not told.
    """
    folder = first_folder(path, ("pt_br", "data/pt_br"), "*.tsv")
    variety = _variety(folder.resolve().name, reading)
    for name in ("train", "dev", "test"):
        table = folder / f"{name}.tsv"
        if not table.is_file():
            reading.notes[f"no {table.name}"] += 1
            continue
        inside = folder / "audio" / name
        clips = inside if inside.is_dir() else folder / name
        for where, row, fault in table_rows(table, columns=COLUMNS):
            yield CorpusRow(
                where=where,
                id=Path(row["file"]).stem,
                audio=clips / row["file"] if row["file"] else None,
                text=row["raw_transcription"] or row["transcription"],
                variety=variety,
                split=SPLITS[name],
                licence=LICENCE,
                promised_s=seconds_of(row["num_samples"], 1 / SAMPLE_RATE_HZ),
                fields=row,
                fault=fault,
            )


def _variety(name: str, reading: Reading) -> Variety:
    if name.lower() in ("pt_br", "pt_pt"):
        return Variety.parse(name)
    if re.fullmatch(r"[a-z]{2,3}_[a-z0-9_]+", name):
        return Variety.OTHER
    reading.notes["a folder that is not named by its locale: variety unknown"] += 1
    return Variety.UNKNOWN
