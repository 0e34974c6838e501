"""What a reader says of one utterance of a corpus, and what is wrong with one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amalia_mm.data.schema import Split
from amalia_mm.variety import Variety

SPLITS: Mapping[str, Split] = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    "test": "test",
}
"""What corpora call their splits, and what we call them."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Audio inside of a table: row `row` of record batch or row group `group` of an Arrow or Parquet file."""

    file: Path
    group: int
    row: int
    column: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an utterance is not learned from: a reason that is counted, what was found, and what would do."""

    reason: str
    value: str
    limit: str


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """One utterance as its corpus describes it. Nobody has opened `audio` yet."""

    where: str
    """File and line, as errors name them."""
    id: str
    audio: Path | Embedded | None
    """None where the corpus names none."""
    text: str | None
    speaker: str = ""
    variety: Variety = Variety.UNKNOWN
    split: Split | None = None
    """None where the corpus has no split."""
    licence: str = ""
    promised_s: float | None = None
    """How long the corpus says that the clip is."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """The row itself, for whoever chooses or splits by another of its fields."""
    fault: Fault | None = None
    """What the reader found wrong with it."""


@dataclass(frozen=True)
class Reading:
    """How a corpus is to be read, and what was noticed on the way.

    Args:
        fields: What a manifest calls `audio`, `text`, `id`, `speaker`, `variety`, `split`, `licence` and `seconds`,
            where it is none of the usual names.
        validated: Train on every validated clip of Common Voice that is not tested on, by nobody who is.
        notes: Counts of what was taken for something else, by reason.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    validated: bool = False
    notes: Counter[str] = field(default_factory=Counter)


Reader = Callable[[Path, Reading], Iterator[CorpusRow]]
"""Path and wishes to rows; `InputError` where the path is not that corpus."""


def seconds_of(text: str | None, unit: float = 1.0) -> float | None:
    """Return a number of `unit` seconds as seconds; None where it is no number above 0."""
    try:
        seconds = float(text or "") * unit
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
