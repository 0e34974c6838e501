"""What each stage of a run took and reached: read from `NN_name/stage.json` and `NN_name/metrics.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amalia_mm.errors import InputError


@dataclass(frozen=True)
class Stage:
    """One stage of a run; a stage that does not train has no steps and no losses."""

    name: str
    seconds: float
    peak_rss_gb: float | None
    steps: int | None
    final_loss: float | None
    wait_fraction: float | None
    """The part of the training time spent waiting for batches."""
    losses: tuple[tuple[int, float], ...]
    """Training loss by step."""
    val_losses: tuple[tuple[int, float], ...]
    spans: tuple[tuple[float, float], ...] = ()
    """When it ran, in seconds of the wall clock; empty where that was not kept."""
    commits: tuple[str, ...] = ()
    """Of the code that ran; empty where that was not kept."""

    def summary(self) -> dict[str, object]:
        """Return the stage as `report.json` lists it."""
        return {
            "name": self.name,
            "seconds": self.seconds,
            "steps": self.steps,
            "final_loss": self.final_loss,
            "peak_rss_gb": self.peak_rss_gb,
            "wait_fraction": self.wait_fraction,
            "commit": " ".join(self.commits) or None,
        }


def read_stages(run: Path) -> list[Stage]:
    """Return the finished stages of a run in the order of their names.

    Raises:
        InputError: A file is not JSON, or a stage does not tell its seconds.
    """
    return [_read_stage(path.parent) for path in sorted(run.glob("*/stage.json"))]


def wall_seconds(stages: Sequence[Stage]) -> float:
    """Return the time in which at least one stage ran; those that do not say when count whole."""
    end, total = 0.0, sum(stage.seconds for stage in stages if not stage.spans)
    for start, stop in sorted(span for stage in stages for span in stage.spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def peak_rss_gb(stages: Sequence[Stage]) -> float | None:
    """Return the most memory the run can have held: the peaks of stages that ran at the same time are added."""
    alone = [stage.peak_rss_gb for stage in stages if stage.peak_rss_gb is not None]
    together = [
        sum(other.peak_rss_gb or 0.0 for other in stages if _runs_at(other, begin))
        for stage in stages
        for begin, _ in stage.spans
    ]
    return round(max([*alone, *together]), 3) if alone else None


def _runs_at(stage: Stage, time_s: float) -> bool:
    return any(begin <= time_s < end for begin, end in stage.spans)


def _read_stage(folder: Path) -> Stage:
    path = folder / "stage.json"
    about = _json(_content(path), str(path))
    seconds = about.get("seconds")
    if not isinstance(seconds, (int, float)):
        raise InputError(
            path, field="seconds", found=seconds, wanted="a number", remedy="run the stage again"
        )
    rows = _read_rows(folder / "metrics.jsonl")
    training = [row for row in rows if "loss" in row]
    trained_s = max((row.get("seconds", 0.0) for row in training), default=0.0)
    peaks = [row["rss_gb"] for row in training if "rss_gb" in row]
    return Stage(
        name=folder.name,
        seconds=round(float(seconds), 1),
        peak_rss_gb=about.get("peak_rss_gb", max(peaks, default=None)),
        steps=int(training[-1]["step"]) if training else None,
        final_loss=round(training[-1]["loss"], 4) if training else None,
        wait_fraction=round(sum(row.get("wait_seconds", 0.0) for row in training) / trained_s, 4)
        if trained_s
        else None,
        losses=tuple((int(row["step"]), row["loss"]) for row in training),
        val_losses=tuple((int(row["step"]), row["val_loss"]) for row in rows if "val_loss" in row),
        spans=tuple((float(start), float(stop)) for start, stop in about.get("spans", ())),
        commits=tuple(str(about.get("commit") or "").split()),
    )


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = _content(path).splitlines()
    return [_json(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(path, found=error, wanted="UTF-8", remedy="run the stage again") from None


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(where, found=error, wanted="JSON", remedy="run the stage again") from None
    if not isinstance(found, Mapping):
        raise InputError(where, found=text, wanted="one JSON object", remedy="run the stage again")
    return dict(found)
