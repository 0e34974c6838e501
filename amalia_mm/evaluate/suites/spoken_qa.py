"""Spoken questions: the exact share of the written answers, by kind of question."""

from __future__ import annotations

from collections.abc import Sequence

from amalia_mm.assistant import Assistant
from amalia_mm.evaluate.items import SpokenItem
from amalia_mm.evaluate.suites.questions import Answer, QuestionResult, enough


def measure(
    assistant: Assistant, items: Sequence[SpokenItem], *, batch_size: int = 16, direct: bool = False
) -> QuestionResult:
    """Return the greedy answer to each clip that asks, as `amalia ask` gives it.

    Args:
        assistant: The model.
        items: The clips; those that do not ask are left out.
        batch_size: Clips heard at once.
        direct: Without a transcript in between.

    Raises:
        InputError: A clip cannot be read.
    """
    chosen = [item for item in items if item.task == "answer"]
    given = assistant.answer(
        [item.audio for item in chosen],
        batch_size=batch_size,
        direct=direct,
        sampling=enough(assistant, [item.answer or "" for item in chosen]),
    )
    return QuestionResult(
        tuple(
            Answer(item.text, item.answer or "", text, item.kind or "?", item.audio)
            for item, text in zip(chosen, given, strict=True)
        )
    )
