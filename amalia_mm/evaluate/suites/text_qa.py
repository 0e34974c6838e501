"""Written questions: the exact share of the answers, by kind of question."""

from __future__ import annotations

from collections.abc import Sequence

from amalia_mm.assistant import Assistant
from amalia_mm.batch import Turn
from amalia_mm.evaluate.items import WrittenQuestion
from amalia_mm.evaluate.suites.questions import Answer, QuestionResult, enough


def measure(
    assistant: Assistant, items: Sequence[WrittenQuestion], *, batch_size: int = 32
) -> QuestionResult:
    """Return the greedy answer to each question, asked in a conversation of its own."""
    given = assistant.reply_batch(
        [[Turn("user", item.question)] for item in items],
        batch_size=batch_size,
        sampling=enough(assistant, [item.answer for item in items]),
    )
    return QuestionResult(
        tuple(
            Answer(item.question, item.answer, text, item.kind)
            for item, text in zip(items, given, strict=True)
        )
    )
