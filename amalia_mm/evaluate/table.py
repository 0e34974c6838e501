"""The figures of a finished report for a terminal: what was reached beside what was to be reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amalia_mm.errors import InputError
from amalia_mm.evaluate.targets import TARGETS, shown, written

_MARKS = {True: "sim", False: "não", None: ""}


def read_report(folder: Path) -> dict[str, Any]:
    """Return the `report.json` of a run; `InputError` where there is none."""
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _no_report(folder, "no such file" if isinstance(error, FileNotFoundError) else error) from error
    numbers = [report.get(target.key) for target in TARGETS] if isinstance(report, dict) else ["no object"]
    strange = [value for value in numbers if value is not None and not isinstance(value, (int, float))]
    if strange:
        raise _no_report(folder, repr(strange[0]))
    return report


def _no_report(folder: Path, found: object) -> InputError:
    wanted, remedy = "the figures of an evaluation", f"run `amalia evaluate {folder}`"
    return InputError(folder / "report.json", found=found, wanted=wanted, remedy=remedy)


def table(report: Mapping[str, Any]) -> str:
    """Return one line a figure: its name, value and bound, and whether the bound is kept."""
    rows = [("medida", "valor", "objetivo", "cumprido")]
    for target in shown(report):
        value = report.get(target.key)
        rows.append((target.label, written(value, target.unit), target.bound, _MARKS[target.is_met(value)]))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{label:<{widths[0]}}  {value:>{widths[1]}}  {bound:>{widths[2]}}  {mark}".rstrip()
        for label, value, bound, mark in rows
    ]
    return "\n".join(lines) + "\n"
