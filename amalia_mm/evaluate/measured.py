"""Everything the suites found about one model, and the order in which they are asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from amalia_mm.assistant import Assistant
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


def is_main_test(item: SpokenItem) -> bool:
    """Return whether a clip counts for `wer`: built-in, in a template seen in training."""
    return item.is_synthetic and not item.is_new_template


def measure(
    assistant: Assistant,
    data: Path,
    *,
    frozen: Path | None = None,
    before_joint: Path | None = None,
    batch_size: int = 16,
) -> Measured:
    """Return what the suites find on the files of a data folder, those that are there.

    Args:
        assistant: The model.
        data: A folder with any of `test.jsonl`, `text_test.jsonl` and `pairs.jsonl`.
        frozen: The model folder of a decoder that never met audio, for comparison.
        before_joint: The model folder of the decoder before it learned to hear, for comparison.
        batch_size: Clips heard at once.

    Raises:
        InputError: A file is damaged, or a clip cannot be read.
    """
    started = time.perf_counter()
    skipped = [
        f"{name}: não existe em {data}" for name in (SPOKEN, QUESTIONS, PAIRS) if not (data / name).is_file()
    ]
    if not assistant.has_ears:
        skipped.append("fala: o modelo só lê")
    spoken = read_spoken(data / SPOKEN) if assistant.has_ears and (data / SPOKEN).is_file() else None
    questions = read_questions(data / QUESTIONS) if (data / QUESTIONS).is_file() else None
    pairs = read_pairs(data / PAIRS) if (data / PAIRS).is_file() else None
    main = [item for item in spoken or [] if is_main_test(item)]
    with tqdm(total=8, unit="teste", dynamic_ncols=True) as bar:

        def step(name: str, has_data: bool, work: Callable[[], T]) -> T | None:
            bar.set_description(name)
            result = work() if has_data else None
            bar.update()
            return result

        return Measured(
            asr=step(
                "transcrição",
                bool(spoken),
                lambda: asr.measure(assistant, spoken or [], batch_size=batch_size),
            ),
            spoken_qa=step(
                "perguntas faladas",
                bool(spoken),
                lambda: spoken_qa.measure(assistant, spoken or [], batch_size=batch_size),
            ),
            spoken_qa_direct=step(
                "as mesmas, diretamente",
                bool(spoken),
                lambda: spoken_qa.measure(assistant, spoken or [], batch_size=batch_size, direct=True),
            ),
            text_qa=step(
                "perguntas escritas", bool(questions), lambda: text_qa.measure(assistant, questions or [])
            ),
            preference=step("preferência", bool(pairs), lambda: preference.measure(assistant, pairs or [])),
            no_speech=step("silêncio e ruído", assistant.has_ears, lambda: no_speech.measure(assistant)),
            frozen=step(
                "descodificador congelado",
                frozen is not None and bool(main),
                lambda: asr.measure(Assistant.load(frozen), main, batch_size=batch_size, is_alone=True),
            ),
            text_qa_before_joint=step(
                "antes de ouvir",
                before_joint is not None and bool(questions),
                lambda: text_qa.measure(Assistant.load(before_joint), questions or []),
            ),
            skipped=tuple(skipped),
            seconds=round(time.perf_counter() - started, 1),
        )
