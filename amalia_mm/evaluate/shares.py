"""An evaluation by two processes: each takes its share of every test, and the results are put together again.

Beam search with a judge keeps a Python interpreter busy, so one process leaves most of a second core idle.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from amalia_mm.assistant import Assistant
from amalia_mm.evaluate.beside import Beside
from amalia_mm.evaluate.environment import num_cores
from amalia_mm.evaluate.measured import QUESTIONS, SPOKEN, Job, Measured, Share, join, measure

MAX_PARAMETERS = 100_000_000
"""A larger model is not held in memory twice."""
MIN_ITEMS = 32
"""Clips or questions; a second process takes seconds to begin, and fewer are not worth it."""


def measure_in_shares(assistant: Assistant, job: Job) -> Measured:
    """Return what `measure` finds, by two processes where there are cores for them and the model is small.

    Raises:
        InputError: As `measure`.
    """
    if not _is_worth_it(assistant, job):
        return measure(assistant, job)
    started = time.perf_counter()
    with half_the_threads() as each, Beside(_measure_second, job, each) as other:
        parts = [measure(assistant, job, Share(0, 2), other.check), other.wait()]
    return join(parts, time.perf_counter() - started)


@contextmanager
def half_the_threads() -> Iterator[int]:
    """Work with half of this process's threads for a while, and say how many those are: as many are another's."""
    num_threads = torch.get_num_threads()
    each = max(1, num_threads // 2)
    torch.set_num_threads(each)
    try:
        yield each
    finally:
        torch.set_num_threads(num_threads)


def has_room_beside(assistant: Assistant) -> bool:
    """Return whether a second process may hold the model too: on several cores, and small."""
    parameters = list(assistant.model.parameters())
    is_small = sum(parameter.numel() for parameter in parameters) <= MAX_PARAMETERS
    on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
    return on_cpu and is_small and num_cores() > 1


def _measure_second(job: Job, num_threads: int) -> Measured:
    torch.set_num_threads(num_threads)
    return measure(Assistant.load(job.model, "cpu"), job, Share(1, 2))


def _is_worth_it(assistant: Assistant, job: Job) -> bool:
    num_items = max(_num_lines(job.data / SPOKEN), _num_lines(job.data / QUESTIONS))
    return num_items >= MIN_ITEMS and has_room_beside(assistant)


def _num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0
