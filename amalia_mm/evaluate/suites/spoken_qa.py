"""Spoken questions and other things to be done with clips: the written answers, by task and kind of question."""

from __future__ import annotations

from collections.abc import Sequence

from amalia_mm.assistant import Assistant
from amalia_mm.evaluate.items import SpokenItem
from amalia_mm.evaluate.suites.questions import Answer, QuestionResult, enough


def measure(
    assistant: Assistant, items: Sequence[SpokenItem], *, batch_size: int = 16, direct: bool = False
) -> QuestionResult:
    """Return the greedy answer to each clip that asks, as `amalia ask` gives it, in the order of their instructions.

    Args:
        assistant: The model.
        items: The clips; those to be transcribed are left out.
        batch_size: Clips heard at once.
        direct: Without a transcript in between: end to end, and not as a cascade.

    Raises:
        InputError: A clip cannot be read.
    """
    asked: dict[str, list[SpokenItem]] = {}
    for item in items:
        if item.task != "transcribe":
            asked.setdefault(item.instruction, []).append(item)
    answers: list[Answer] = []
    for instruction, chosen in asked.items():
        given = assistant.answer(
            [item.audio for item in chosen],
            batch_size=batch_size,
            direct=direct,
            sampling=enough(assistant, [item.answer or "" for item in chosen]),
            instruction=instruction,
        )
        answers += [
            Answer(item.text, item.answer or "", text, item.kind or "?", item.audio, item.task)
            for item, text in zip(chosen, given, strict=True)
        ]
    return QuestionResult(tuple(answers))
