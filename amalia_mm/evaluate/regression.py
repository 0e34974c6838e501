"""What a model lost of its written skills while it learned something else: two reports, figure by figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amalia_mm.errors import InputError
from amalia_mm.evaluate.targets import TARGETS, written

TEXT_FIGURES = ("text_qa_exact", "text_qa_context", "text_qa_arithmetic", "ptpt_preference")
"""Shares that only text has a part in, the higher the better."""


@dataclass(frozen=True)
class Change:
    """One figure, before and after."""

    key: str
    before: float
    after: float

    def is_worse(self, tolerance: float) -> bool:
        """Return whether it fell by more than `tolerance`, a share."""
        # A fall of just the tolerance is none; nor is what earlier reports, of four digits, rounded away.
        return round(self.before - self.after - tolerance, 4) > 0


def text_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], where: Path, where_after: Path
) -> list[Change]:
    """Return the text figures of the earlier report, before and after; what the later one has beside them is new.

    Args:
        before: The earlier `report.json`.
        after: The later one.
        where: The folder of the earlier one, for messages.
        where_after: That of the later one.

    Raises:
        InputError: The later one lacks a figure of the earlier, one of them was measured on other questions, or they
            have none in common.
    """
    changes: list[Change] = []
    for key in TEXT_FIGURES:
        old, new = before.get(key), after.get(key)
        if old is None:
            continue
        if new is None:
            wanted, remedy = (
                f"the figure, as {where} has it",
                "give --data that measures it, as the earlier did",
            )
            raise InputError(where_after, field=key, found="none", wanted=wanted, remedy=remedy)
        totals = [report["counts"][key]["total"] for report in (before, after)]
        if totals[0] != totals[1]:
            found, wanted = f"{totals[0]:g} questions", f"the same {totals[1]:g} as in the other report"
            raise InputError(
                where, field=key, found=found, wanted=wanted, remedy="measure both on the same data"
            )
        changes.append(Change(key, float(old), float(new)))
    if not changes:
        remedy = "give --data with text_test.jsonl or pairs.jsonl to both evaluations"
        raise InputError(
            where, found="no text figure in common", wanted=", ".join(TEXT_FIGURES), remedy=remedy
        )
    return changes


def regression_table(changes: list[Change], tolerance: float) -> str:
    """Return one line a figure: before, after, and whether it fell by more than the tolerance."""
    labels = {target.key: target.label for target in TARGETS}
    rows = [("texto", "antes", "depois", "")]
    rows += [
        (
            labels[change.key],
            written(change.before, "share"),
            written(change.after, "share"),
            "pior" if change.is_worse(tolerance) else "",
        )
        for change in changes
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(
        f"{label:<{widths[0]}}  {old:>{widths[1]}}  {new:>{widths[2]}}  {mark}".rstrip() + "\n"
        for label, old, new, mark in rows
    )
