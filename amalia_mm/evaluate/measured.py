"""Everything the suites found about one model, and the order in which they are asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from amalia_mm.assistant import Assistant
from amalia_mm.audio.channels import KEEP_ONE, check_channels
from amalia_mm.evaluate.environment import own_peak_rss_gb
from amalia_mm.evaluate.items import SpokenItem, read_pairs, read_questions, read_spoken
from amalia_mm.evaluate.suites import asr, no_speech, preference, spoken_qa, text_qa
from amalia_mm.evaluate.suites.asr import AsrResult
from amalia_mm.evaluate.suites.no_speech import NoSpeechResult
from amalia_mm.evaluate.suites.preference import PreferenceResult
from amalia_mm.evaluate.suites.questions import QuestionResult

SPOKEN = "test.jsonl"
QUESTIONS = "text_test.jsonl"
PAIRS = "pairs.jsonl"

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """The results of all suites; None where there was no data for one, or the model cannot do it."""

    asr: AsrResult | None = None
    spoken_qa: QuestionResult | None = None
    spoken_qa_direct: QuestionResult | None = None
    """Answered without a transcript in between."""
    text_qa: QuestionResult | None = None
    preference: PreferenceResult | None = None
    no_speech: NoSpeechResult | None = None
    frozen: AsrResult | None = None
    """What the model before the joint stage writes: a decoder that never met audio."""
    text_qa_before_joint: QuestionResult | None = None
    skipped: tuple[str, ...] = ()
    """What was not measured, and why."""
    seconds: float = 0.0
    peak_rss_gb: float = 0.0
    """At most; of all processes that measured, together. What they share counts for each."""


@dataclass(frozen=True)
class Share:
    """Which part of every test is meant: the parts of all numbers, one after the other, are the whole."""

    number: int = 0
    of: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that shows what is going on, and does what cannot be shared."""
        return self.number == 0

    def part(self, items: Sequence[T]) -> list[T]:
        """Return this share of some items, in their order."""
        return list(items[len(items) * self.number // self.of : len(items) * (self.number + 1) // self.of])


@dataclass(frozen=True)
class Job:
    """What is to be measured.

    Args:
        model: The model's folder.
        data: A folder with any of `test.jsonl`, `text_test.jsonl` and `pairs.jsonl`.
        frozen: Parts to put in place of the model's own, by model folder, so that its decoder never met audio.
        before_joint: The model folder of the decoder before it learned to hear, for comparison.
        batch_size: Clips heard at once.
    """

    model: Path
    data: Path
    frozen: Mapping[str, Sequence[str]] | None = None
    before_joint: Path | None = None
    batch_size: int = 16


def is_main_test(item: SpokenItem) -> bool:
    """Return whether a clip counts for `wer`: built-in, in a template seen in training."""
    return item.is_synthetic and not item.is_new_template


def measure(
    assistant: Assistant, job: Job, share: Share = Share(), check: Callable[[], None] = lambda: None
) -> Measured:
    """Return what the suites find on the files of a data folder, those that are there.

    Args:
        assistant: The model of the job, loaded.
        job: What is measured.
        share: Which part of it; all where nothing is said.
        check: Called before every test; what it raises ends the measurement.

    Raises:
        InputError: A file is damaged, or a clip cannot be read.
    """
    started = time.perf_counter()
    data, size = job.data, job.batch_size
    has_speech = assistant.has_ears and (data / SPOKEN).is_file()
    clips = read_spoken(data / SPOKEN) if has_speech else []
    said = share.part([item for item in clips if item.task == "transcribe"])
    asked = share.part([item for item in clips if item.task != "transcribe"])
    main = share.part([item for item in clips if item.task == "transcribe" and is_main_test(item)])
    for item in (*said, *asked):
        check_channels(item.audio, remedy=KEEP_ONE)
    questions = share.part(read_questions(data / QUESTIONS)) if (data / QUESTIONS).is_file() else []
    pairs = share.part(read_pairs(data / PAIRS)) if (data / PAIRS).is_file() else []
    with tqdm(total=8, unit="teste", dynamic_ncols=True, disable=not share.is_first) as bar:

        def step(name: str, has_data: bool, work: Callable[[], T]) -> T | None:
            check()
            bar.set_description(name)
            result = work() if has_data else None
            bar.update()
            return result

        return Measured(
            asr=step("transcrição", bool(said), lambda: asr.measure(assistant, said, batch_size=size)),
            spoken_qa=step(
                "perguntas faladas", bool(asked), lambda: spoken_qa.measure(assistant, asked, batch_size=size)
            ),
            spoken_qa_direct=step(
                "as mesmas, diretamente",
                bool(asked),
                lambda: spoken_qa.measure(assistant, asked, batch_size=size, direct=True),
            ),
            text_qa=step(
                "perguntas escritas", bool(questions), lambda: text_qa.measure(assistant, questions)
            ),
            preference=step("preferência", bool(pairs), lambda: preference.measure(assistant, pairs)),
            no_speech=step(
                "silêncio e ruído",
                assistant.has_ears and share.is_first,
                lambda: no_speech.measure(assistant),
            ),
            frozen=step("descodificador congelado", bool(job.frozen and main), lambda: _apart(job, main)),
            text_qa_before_joint=step(
                "antes de ouvir",
                bool(job.before_joint and questions),
                lambda: text_qa.measure(Assistant.load(job.before_joint), questions),
            ),
            skipped=_skipped(assistant, data),
            seconds=round(time.perf_counter() - started, 1),
            peak_rss_gb=own_peak_rss_gb(),
        )


def join(parts: Sequence[Measured], seconds: float) -> Measured:
    """Return the whole that the shares in order of their number make, measured in `seconds`."""
    results = {
        field.name: _joined([getattr(part, field.name) for part in parts])
        for field in fields(Measured)
        if field.name not in ("skipped", "seconds", "peak_rss_gb")
    }
    peak_rss_gb = sum(part.peak_rss_gb for part in parts)
    return Measured(**results, skipped=parts[0].skipped, seconds=round(seconds, 1), peak_rss_gb=peak_rss_gb)


def _joined(results: Sequence[Any]) -> Any:
    """Return one result of several of a kind: each has a single field, a tuple of rows."""
    found = [result for result in results if result is not None]
    if not found:
        return None
    (rows,) = fields(found[0])
    return type(found[0])(tuple(chain.from_iterable(getattr(result, rows.name) for result in found)))


def _skipped(assistant: Assistant, data: Path) -> tuple[str, ...]:
    missing = [name for name in (SPOKEN, QUESTIONS, PAIRS) if not (data / name).is_file()]
    deaf = () if assistant.has_ears else ("fala: o modelo só lê",)
    return (*(f"{name}: não existe em {data}" for name in missing), *deaf)


def _apart(job: Job, items: list[SpokenItem]) -> AsrResult:
    """Return what the decoder writes by itself when other parts are in place of the model's own."""
    other = Assistant.load(job.model, init_from=job.frozen)
    return asr.measure(other, items, batch_size=job.batch_size, is_alone=True)
