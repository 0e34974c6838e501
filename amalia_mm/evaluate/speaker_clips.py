"""Clips and whose they are: from a folder of shards, or from a manifest whose rows name a clip and a speaker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from amalia_mm.audio.io import load_audio
from amalia_mm.data.index import INDEX_NAME, ShardIndex, read_record
from amalia_mm.errors import InputError

NAMES = ("speaker", "speaker_id", "spk", "voice", "client_id")
"""What a row may call its speaker; the first of them that is there counts."""


@dataclass(frozen=True)
class SpeakerClip:
    """A clip (n) float32 at 16 kHz and whose it is."""

    waveform: Tensor
    speaker: str
    where: str


def speaker_clips(
    path: Path, field: str | None = None, most: int | None = None, speaker: str | None = None
) -> list[SpeakerClip]:
    """Return the clips of a folder of shards, or of a JSONL manifest (`audio` relative to it).

    Args:
        path: The folder or the file.
        field: What rows of a manifest call the speaker; None is one of `NAMES`.
        most: Clips of each speaker, the first ones; None is all.
        speaker: Whose alone; None is everybody's.

    Raises:
        InputError: A file is missing, or a row names no clip or no speaker.
    """
    counts: dict[str, int] = {}
    clips: list[SpeakerClip] = []
    for name, where, source in _shards(path) if (path / INDEX_NAME).is_file() else _rows(path, field):
        counts[name] = counts.get(name, 0) + 1
        if (most is None or counts[name] <= most) and speaker in (None, name):
            clips.append(SpeakerClip(load_audio(source, where=where), name, where))
    return clips


def _shards(folder: Path) -> Iterator[tuple[str, str, bytes | Path]]:
    """Yield speaker, place and bytes of the clips of shards; records without a clip or a name are nobody's."""
    index = ShardIndex.load(folder)
    for record in range(len(index)):
        if index.num_samples[record] and index.coded["speaker"][record]:
            _, audio = read_record(index, record)
            assert audio is not None
            yield index.coded["speaker"][record], index.where(record), audio


def _rows(path: Path, field: str | None) -> Iterator[tuple[str, str, bytes | Path]]:
    """Yield speaker, place and file of the rows of a manifest."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found = "a folder without shards" if path.is_dir() else error
        wanted, remedy = "a folder of shards, or a .jsonl with audio and speaker", "correct the path"
        raise InputError(path, found=found, wanted=wanted, remedy=remedy) from error
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
            audio = path.parent / str(row["audio"])
        except (ValueError, KeyError, TypeError) as error:
            remedy, wanted = "correct the row", "an object with `audio`"
            raise InputError(where, found=line[:100], wanted=wanted, remedy=remedy) from error
        name = field if field is not None else next((name for name in NAMES if row.get(name)), NAMES[0])
        if not row.get(name):
            remedy = "say with --by which field names the speaker"
            raise InputError(where, field=name, found="nothing", wanted="whose clip it is", remedy=remedy)
        yield str(row[name]), where, audio
