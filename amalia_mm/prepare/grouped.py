"""A manifest of recordings split by a field that recordings share: a lesson, a speaker, a session.

What is tested on must be new in more than its words. It knows manifests; it does not open audio.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amalia_mm.data.schema import Split
from amalia_mm.errors import writing
from amalia_mm.json_rows import json_rows
from amalia_mm.prepare.choice import Choice
from amalia_mm.prepare.rows import fail, required


@dataclass(frozen=True)
class GroupedSplit:
    """Which rows of a manifest are kept, and which of them are held out.

    Args:
        by: The field whose values stay together; None leaves every row's split as it is.
        choices: What rows must pass; values are as JSON writes them ("true", "1.5") or strings.
        test: The least share of rows that is tested on; no more groups are taken than that needs.
        val: The least share of rows that is watched.
    """

    by: str | None = None
    choices: tuple[Choice, ...] = ()
    test: float = 0.15
    val: float = 0.1


def write_split(manifest: Path, output: Path, wanted: GroupedSplit) -> Counter[Split | str]:
    """Return how many rows each split got, after writing the manifest with a `split` in every row.

    Groups are taken in the order of a hash of their names, for the test first, so the same manifest gives the same
    split. Paths of audio become absolute: the new manifest may lie anywhere.

    Raises:
        InputError: The manifest cannot be read, a row lacks a field that is asked for, nothing is kept, or there are
            fewer groups than splits.
    """
    kept: list[dict[str, Any]] = []
    counts: Counter[Split | str] = Counter()
    for where, row in json_rows(manifest):
        if _is_kept(row, where, wanted.choices):
            audio = (manifest.parent / required(row, "audio", where)).resolve()
            kept.append({**row, "audio": str(audio)})
            if wanted.by is not None:
                required(row, wanted.by, where)
        else:
            counts["left out"] += 1
    if not kept:
        fail(manifest, "", "no row that is asked for", "one or more", "change --where")
    if wanted.by is not None:
        splits = split_groups([str(row[wanted.by]) for row in kept], wanted.test, wanted.val, str(manifest))
        kept = [{**row, "split": splits[str(row[wanted.by])]} for row in kept]
    output.parent.mkdir(parents=True, exist_ok=True)
    with writing(output):
        output.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8"
        )
    counts.update(row.get("split") or "no split" for row in kept)
    return counts


def split_groups(groups: Sequence[str], test: float, val: float, where: str) -> dict[str, Split]:
    """Return the split of each group.

    Args:
        groups: The group of each row.
        test: The least share of rows for the test.
        val: The least share for validation.
        where: The manifest, for the message.
    """
    sizes = Counter(groups)
    if len(sizes) < 3:
        found, wanted = f"{len(sizes)} different values", "at least 3: one for each split"
        fail(where, "by", found, wanted, "split by another field")
    splits: dict[str, Split] = {}
    waiting = sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    parts: Iterable[tuple[Split, float]] = (("test", test), ("val", val))
    for part, share in parts:
        num_rows = 0
        while num_rows < share * len(groups) and len(waiting) > 1:
            name = waiting.pop(0)
            splits[name] = part
            num_rows += sizes[name]
    splits.update((name, "train") for name in waiting)
    return splits


def _is_kept(row: Mapping[str, Any], where: str, choices: Sequence[Choice]) -> bool:
    for choice in choices:
        if choice.field not in row:
            found = f"no such field among {', '.join(map(str, row))}"
            fail(where, choice.field, found, "a value", "change --where")
        value = row[choice.field]
        if not choice.takes(value if isinstance(value, str) else json.dumps(value)):
            return False
    return True
