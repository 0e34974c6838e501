"""The user's own documents and conversations, whole, as records of shards; nothing of the built-in corpus beside them.

It knows files of text and records; how long a row of a training run is, it does not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from amalia_mm.data.schema import Record, Split
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.prepare.corpora import Written, read_text
from amalia_mm.prepare.sentences import split_of


def write_written(
    paths: Sequence[Path], output: Path, split: Split | None = None
) -> tuple[Counter[str], Counter[str]]:
    """Write files of text as a folder of shards; return how many records of each task, and what was left out, counted.

    A text belongs to `train`, `val` (5 of 100) or `test` (10 of 100) by its words alone, so equal texts never stand on
    two sides.

    Args:
        paths: Files and folders, as `read_text` reads them.
        output: A new or empty folder.
        split: Only these; None is all.

    Raises:
        InputError: A file cannot be read or has nothing to learn from, there is nothing of that split, or the disk is
            full.
    """
    notes: Counter[str] = Counter()
    records: list[Record] = []
    num_read = 0
    for path in paths:
        written, left_out = read_text(path)
        notes.update(left_out)
        records += _records(written, start=num_read, split=split)
        num_read += len(written)
    if not records:
        found, remedy = (
            f"no text of it in {', '.join(map(str, paths))}",
            "give more text, or leave --split out",
        )
        raise InputError("--split", found=found, wanted=f"texts for {split}", remedy=remedy)
    with ShardWriter(output) as writer:
        for record in records:
            writer.write(record)
    return Counter(record.task for record in records), notes


def _records(written: Sequence[Written], start: int, split: Split | None) -> Iterator[Record]:
    for number, one in enumerate(written, start=start):
        part = split_of(one.text or "\n".join(turn.text for turn in one.turns))
        if split in (None, part):
            yield Record(
                id=f"{number:08d}",
                task="chat" if one.turns else "document",
                variety=one.variety,
                speaker="",
                source=one.source,
                licence="",
                split=part,
                text=None if one.turns else one.text,
                turns=one.turns,
            )
