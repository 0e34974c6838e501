"""`amalia transcribe --live FILE`: a file as a microphone would give it, and how late its words come.

Finished turns are lines on stdout, what is sure so far and what may follow go to stderr; with `--format json` every
event is a line of JSON on stdout, and the latencies are the last one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor

from amalia_mm.assistant import NUM_BEAMS
from amalia_mm.audio.channels import open_recording
from amalia_mm.live import Event, Live
from amalia_mm.terminal import note, result
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds

if TYPE_CHECKING:
    from amalia_mm.assistant import Assistant

_STEP_SAMPLES = SAMPLE_RATE_HZ // 10
"""A microphone gives a tenth of a second at a time."""
_MODES = {
    "blocks": "o codificador ouve bloco a bloco: o que está certo só cresce",
    "again": "o codificador ouve o turno de novo de meio em meio segundo: está certo o que se ouve igual duas vezes",
}


class _Latencies:
    """How long after it was said a word is shown: the first of a turn, and the last."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self.first_word_s: dict[int, float] = {}
        self.final_s: dict[int, float] = {}

    def add(self, event: Event, now_s: float) -> None:
        """Count an event that is shown `now_s` after the sound began."""
        if event.kind == "final":
            self.final_s[event.turn] = now_s - event.end_s / self._speed
        if event.text or event.tentative:
            self.first_word_s.setdefault(event.turn, now_s - event.start_s / self._speed)

    def summary(self) -> dict[str, Any]:
        """Return the median and the longest of both in seconds, and of how many turns."""
        return {
            "turns": len(self.final_s),
            "first_word_s": _median_and_most(self.first_word_s),
            "final_s": _median_and_most(self.final_s),
        }


def live(assistant: Assistant, options: argparse.Namespace) -> int:
    """Transcribe the one file of the options as it is played, and return the exit code."""
    recording = open_recording(options.audio[0], options.channels, assistant.min_samples)
    num_beams = None if options.ctc else options.beams or NUM_BEAMS
    listener = Live(assistant, num_beams=num_beams)
    is_json = options.format == "json"
    note(_MODES[listener.mode])
    speed = options.speed or 1.0
    latencies = _Latencies(speed)
    began_s = time.monotonic()

    def show(events: list[Event]) -> None:
        for event in events:
            now_s = time.monotonic() - began_s
            latencies.add(event, now_s)
            if is_json:
                result(json.dumps(asdict(event) | {"at_s": round(now_s, 3)}, ensure_ascii=False))
            elif event.kind == "final":
                result(f"{event.text}{'  [revisto]' if event.is_revised else ''}")
            else:
                note(f"… {event.text} [{event.tentative}]" if event.tentative else f"… {event.text}")

    heard = 0
    for samples in _steps(recording.blocks()):
        heard += len(samples)
        time.sleep(max(samples_to_seconds(heard) / speed - (time.monotonic() - began_s), 0.0))
        show(listener.push(samples))
    show(listener.flush())
    summary = latencies.summary()
    if is_json:
        result(json.dumps({"kind": "latency", "mode": listener.mode, **summary}))
    first, final = summary["first_word_s"], summary["final_s"]
    note(
        f"{summary['turns']} turnos; primeira palavra {_told(first)} depois de se começar a falar, "
        f"texto final {_told(final)} depois de se acabar"
    )
    return 0


def _steps(blocks: Iterator[Tensor]) -> Iterator[Tensor]:
    for block in blocks:
        yield from block.split(_STEP_SAMPLES)


def _median_and_most(seconds: dict[int, float]) -> dict[str, float] | None:
    if not seconds:
        return None
    return {"median": round(statistics.median(seconds.values()), 3), "most": round(max(seconds.values()), 3)}


def _told(seconds: dict[str, float] | None) -> str:
    return (
        "(nenhuma)" if seconds is None else f"{seconds['median']:.2f} s (no máximo {seconds['most']:.2f} s)"
    )
