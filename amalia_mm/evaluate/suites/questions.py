"""Questions: what the model answered and how much of it is exact, by kind; for text_qa and spoken_qa."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amalia_mm.assistant import Assistant
from amalia_mm.evaluate.metrics import HitCount, exact, is_exact, similarity
from amalia_mm.text.sampling import Sampling

SPARE_TOKENS = 16
ANSWER = "answer"
"""The task of a question; others, such as a translation, have an instruction."""
REFORMULATED = "reformulated"
"""A known fact in a wording never seen: the kind that the targets are about."""


@dataclass(frozen=True)
class Answer:
    """A question, the answer wanted and the answer given."""

    question: str
    wanted: str
    given: str
    kind: str
    audio: Path | None = None
    """The clip, where the question was spoken."""
    task: str = ANSWER
    """What was to be done with it."""

    @property
    def is_exact(self) -> bool:
        """Whether the answer given is the one wanted, in strict form."""
        return is_exact(self.given, self.wanted)


@dataclass(frozen=True)
class QuestionResult:
    """All answers of a suite, and their exact shares."""

    answers: tuple[Answer, ...]

    def of_task(self, task: str) -> QuestionResult:
        """Return the answers of one task."""
        return QuestionResult(tuple(answer for answer in self.answers if answer.task == task))

    @property
    def tasks(self) -> list[str]:
        """The tasks there are, by name."""
        return sorted({answer.task for answer in self.answers})

    @property
    def exact(self) -> HitCount:
        """The exact share of all."""
        return _share(self.answers)

    @property
    def chrf(self) -> float | None:
        """How alike the answers are to those wanted, letter by letter, from 0 to 1; None without any."""
        return similarity(
            [answer.given for answer in self.answers], [answer.wanted for answer in self.answers]
        )

    def of_kind(self, kind: str) -> HitCount:
        """Return the exact share of one kind of question."""
        return _share([answer for answer in self.answers if answer.kind == kind])

    def by_kind(self) -> dict[str, HitCount]:
        """Return the exact share of each kind, in the order of their names."""
        return {kind: self.of_kind(kind) for kind in sorted({answer.kind for answer in self.answers})}


def enough(assistant: Assistant, wanted: Sequence[str]) -> Sampling:
    """Return a greedy choice with room for every wanted answer and a little more; longer ones are wrong."""
    longest = max((len(assistant.tokenizer.encode(answer)) for answer in wanted), default=0)
    return Sampling(max_new_tokens=longest + SPARE_TOKENS)


def _share(answers: Sequence[Answer]) -> HitCount:
    return exact([answer.given for answer in answers], [answer.wanted for answer in answers])
