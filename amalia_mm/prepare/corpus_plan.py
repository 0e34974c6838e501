"""Which utterances of a corpus are wanted, and in which split each stands: decided before any audio is opened.

What is not wanted is counted, what cannot be used is told with its reason. It knows rows; not audio, nor shards.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from amalia_mm.audio.channels import Side
from amalia_mm.data.schema import Split
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.choice import Choice
from amalia_mm.prepare.plausible import Limits, text_fault
from amalia_mm.prepare.readers.row import CorpusRow, Fault
from amalia_mm.prepare.sentences import split_of
from amalia_mm.variety import Variety

_OWN = ("id", "speaker", "text")
"""Fields that every corpus has, whatever it calls them."""
_KEPT_FIRST: tuple[Split, ...] = ("test", "val", "train")
"""Of what stands in two splits, the one in the first of these is kept."""
_MOST_OVER = 1.5
"""A group that would make a split larger than this times its share goes elsewhere, if any other can."""


@dataclass(frozen=True)
class Wishes:
    """What is wanted of a corpus.

    Args:
        choices: Rows must pass all of them.
        split_by: Split anew by this field: rows that share its value stand in one split.
        val_share: About this share of the rows goes to validation, where they are split anew.
        test_share: The same for the test.
        variety: Of rows that say nothing.
        licence: Of rows that say nothing.
        limits: What clips and transcripts must keep to.
        same_sentence: A sentence of one speaker is the same utterance, in whatever clip.
        keep_odd_rates: Learn from clips that sound as if their header lied about the sample rate (`odd_rates.py`).
        channels: What is heard of two channels; None: their mean, and clips of two speakers cannot be used.
    """

    choices: tuple[Choice, ...] = ()
    split_by: str | None = None
    val_share: float = 0.05
    test_share: float = 0.1
    variety: Variety = Variety.UNKNOWN
    licence: str = ""
    limits: Limits = field(default_factory=Limits)
    same_sentence: bool = False
    keep_odd_rates: bool = False
    channels: Side | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An utterance that is not learned from, and why."""

    row: CorpusRow
    fault: Fault

    def to_json(self) -> dict[str, str | None]:
        """Return its row of `quarantine.jsonl`."""
        row, fault = self.row, self.fault
        place = {"where": row.where, "id": row.id, "split": row.split, "variety": row.variety.value}
        return place | {"text": row.text, "reason": fault.reason, "value": fault.value, "limit": fault.limit}


@dataclass
class Plan:
    """The utterances of a corpus, sorted out."""

    rows: list[CorpusRow] = field(default_factory=list)
    """Wanted, each with a split and an id of its own."""
    refused: list[Refused] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Not wanted, by the choice that they did not pass."""


def plan_corpus(rows: Iterable[CorpusRow], wishes: Wishes) -> Plan:
    """Return the utterances that are wanted and possible, with those that are not.

    Raises:
        InputError: A field to choose or split by is in no row, or too few groups are there to split.
    """
    plan = Plan()
    wanted: list[CorpusRow] = []
    missing = {choice.field for choice in wishes.choices} | ({wishes.split_by} if wishes.split_by else set())
    for row in rows:
        missing = {name for name in missing if not has_field(row, name)}
        failed = next((each for each in wishes.choices if not each.takes(value_of(row, each.field))), None)
        if failed is not None:
            plan.left_out[str(failed)] += 1
            continue
        variety = wishes.variety if row.variety is Variety.UNKNOWN else row.variety
        row = replace(row, variety=variety, licence=row.licence or wishes.licence)
        fault = row.fault or _row_fault(row, wishes)
        if fault is None:
            wanted.append(row)
        else:
            plan.refused.append(Refused(row, fault))
    if missing and (wanted or plan.refused or plan.left_out):
        name = min(missing)
        raise InputError(
            "--where, --split-by", field=name, found="no row with it", wanted="a field", remedy="check it"
        )
    plan.rows, refused = without_copies(_in_splits(wanted, wishes), _id_key, "id")
    plan.refused += refused
    if wishes.same_sentence:
        plan.rows, refused = without_copies(plan.rows, _sentence_key, "sentence of the speaker")
        plan.refused += refused
    return plan


def without_copies(
    rows: Sequence[CorpusRow], key: Callable[[int, CorpusRow], str | None], what: str
) -> tuple[list[CorpusRow], list[Refused]]:
    """Return the rows without those whose key another one has; the one that is tested on is kept, then the first.

    Args:
        rows: In the order of their corpus, which the result keeps.
        key: Number and row to what must be unique; None is like nothing else.
        what: What that is, for the reasons: `duplicate` within a split, `duplicate_across_splits` beyond.
    """
    kept: dict[str, CorpusRow] = {}
    copies: dict[int, Refused] = {}
    ranked = sorted(range(len(rows)), key=lambda number: _KEPT_FIRST.index(rows[number].split or "train"))
    for number in ranked:
        row, own = rows[number], key(number, rows[number])
        if own is None:
            continue
        first = kept.setdefault(own, row)
        if first is not row:
            reason = "duplicate" if first.split == row.split else "duplicate_across_splits"
            found = f"the {what} of {first.where} ({first.split})"
            copies[number] = Refused(row, Fault(reason, found, f"{what} of its own"))
    return [row for number, row in enumerate(rows) if number not in copies], list(copies.values())


def has_field(row: CorpusRow, name: str) -> bool:
    """Return whether a row has a field of its corpus, or one that every row has."""
    return name in row.fields or name in _OWN


def value_of(row: CorpusRow, name: str) -> str:
    """Return a field of a row as its corpus calls it, or one of `id`, `speaker` and `text`; "" where it has none."""
    if name in row.fields:
        return row.fields[name]
    return (getattr(row, name) or "") if name in _OWN else ""


def _row_fault(row: CorpusRow, wishes: Wishes) -> Fault | None:
    if row.audio is None:
        return Fault("no_audio", "no clip is named", "a clip")
    if wishes.split_by and not value_of(row, wishes.split_by):
        return Fault("no_group", f"no {wishes.split_by}", "a value to split by")
    return text_fault(row.text, wishes.limits)


def _in_splits(rows: Sequence[CorpusRow], wishes: Wishes) -> list[CorpusRow]:
    if wishes.split_by is None:
        return [row if row.split else replace(row, split=split_of(row.text or "")) for row in rows]
    sizes = Counter(value_of(row, wishes.split_by) for row in rows)
    splits = split_groups(sizes, wishes.split_by, wishes.val_share, wishes.test_share)
    return [replace(row, split=splits[value_of(row, wishes.split_by)]) for row in rows]


def split_groups(sizes: Counter[str], name: str, val_share: float, test_share: float) -> dict[str, Split]:
    """Return the split of each group: test, then validation are filled up to their shares, in an order by hash.

    The same groups of the same sizes are always split alike, whatever order they come in.

    Raises:
        InputError: There are too few groups, or the shares leave nothing to train on.
    """
    wanted_parts = 1 + (val_share > 0) + (test_share > 0)
    if len(sizes) < wanted_parts or min(val_share, test_share) < 0 or val_share + test_share >= 1:
        raise InputError(
            f"--split-by {name}",
            found=f"{len(sizes)} groups, {val_share:g} of them to validate and {test_share:g} to test on",
            wanted=f"at least {wanted_parts} groups, and shares below 1 in all",
            remedy="split by a field with more values, or change the shares",
        )
    left = sorted(sizes, key=lambda group: hashlib.sha256(f"{name}\0{group}".encode()).digest())
    splits: dict[str, Split] = {}
    total = sum(sizes.values())
    shares: tuple[tuple[Split, float], ...] = (("test", test_share), ("val", val_share))
    for split, share in shares:
        if share > 0:
            wanted_parts -= 1
            chosen = _filled(left, sizes, share * total, len(left) - wanted_parts)
            splits.update((group, split) for group in chosen)
            left = [group for group in left if group not in splits]
    splits.update((group, "train") for group in left)
    return splits


def _filled(groups: Sequence[str], sizes: Counter[str], wanted: float, most: int) -> list[str]:
    """Return groups in order until they are `wanted` in all, `most` groups; the smallest where each is too large."""
    chosen: list[str] = []
    filled = 0
    for group in groups:
        if filled < wanted and len(chosen) < most and filled + sizes[group] <= _MOST_OVER * wanted:
            filled += sizes[group]
            chosen.append(group)
    return chosen or [min(groups, key=lambda group: sizes[group])]


def _id_key(number: int, row: CorpusRow) -> str | None:
    return row.id


def _sentence_key(number: int, row: CorpusRow) -> str | None:
    return f"{row.speaker}\0{spoken_form(row.text or '')}" if row.speaker else None
