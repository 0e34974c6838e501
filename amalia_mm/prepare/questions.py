"""Questions of the built-in corpus and their one fixed answer each.

Four kinds: known facts in many wordings; reformulated ones, whose wording was not seen for that fact;
questions about a context that stands before them; sums and differences. The texts are in `questions.yaml`;
what is held out is drawn here.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.portuguese.numbers import cardinal
from amalia_mm.prepare.grammar import Pattern, expand_choices, read_patterns, sample_texts
from amalia_mm.prepare.lexicon import Entry, Lexicon, load_lexicon, read_data

Kind = Literal["known", "reformulated", "context", "arithmetic"]

BY_HEART: tuple[Kind, ...] = ("known", "reformulated")
"""Those whose answer stands nowhere in what is asked and cannot be worked out."""

_LARGEST_NUMBER = 20
_HELDOUT_OPERANDS = 0.15


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the wording that it was put in.

    `template` is "relation/number of the wording"; a reformulated question adds "/new-wording" (no fact was
    ever asked so in training) or "/new-pair" (other facts were). `context`, where there is one, stands before
    the question in the same turn.
    """

    question: str
    answer: str
    kind: Kind
    template: str
    context: str = ""

    @property
    def text(self) -> str:
        """The whole turn of the person who asks."""
        return f"{self.context} {self.question}".strip()


@dataclass(frozen=True)
class QuestionSets:
    """The questions to learn from, to watch and to be measured by; no two of one spoken form."""

    train: tuple[Question, ...]
    val: tuple[Question, ...]
    test: tuple[Question, ...]


def build_questions(
    rng: random.Random, num_context: int = 7000, num_heldout: int = 300, taken: Iterable[str] = ()
) -> QuestionSets:
    """Return all questions, split so that what is measured was never learned.

    Args:
        rng: The source of every choice.
        num_context: How many questions about a context to learn from.
        num_heldout: How many of them, and of the sums, to measure by; as many again to watch, at most.
        taken: Spoken forms that no question may have.
    """
    data = read_data("questions.yaml")
    known = _known(data, rng)
    context = _context(data["context"], rng, num_context, num_heldout)
    arithmetic = _arithmetic(data["arithmetic"], rng, num_heldout)
    seen = set(taken)
    # What is measured comes first: where two spoken forms are one, training loses it.
    test, val, train = (
        _distinct((*known[part], *context[part], *arithmetic[part]), seen)
        for part in ("test", "val", "train")
    )
    return QuestionSets(train, val, test)


def _distinct(questions: Iterable[Question], seen: set[str]) -> tuple[Question, ...]:
    kept = []
    for question in questions:
        spoken = spoken_form(question.text)
        if spoken not in seen:
            seen.add(spoken)
            kept.append(question)
    return tuple(kept)


Split = dict[str, list[Question]]


def _known(data: Mapping[str, Any], rng: random.Random) -> Split:
    split: Split = {"train": [], "val": [], "test": []}
    for name, relation in data["known"].items():
        asked = [wording for text in relation["wordings"] for wording in expand_choices(text)]
        new = [wording for text in relation["new_wordings"] for wording in expand_choices(text)]
        for fact in range(len(load_lexicon()[relation["facts"]])):
            to_test, to_watch = rng.sample(range(len(asked)), 2)
            for number, wording in enumerate(asked):
                template = f"{name}/{number}"
                if number in (to_test, to_watch):
                    part = "test" if number == to_test else "val"
                    split[part].append(_ask(wording, relation, fact, "reformulated", f"{template}/new-pair"))
                    continue
                question = _ask(wording, relation, fact, "known", template)
                split["train"] += [question, _opened(question, rng.choice(data["openings"]))]
            number = fact % len(new)
            template = f"{name}/{len(asked) + number}/new-wording"
            split["test"].append(_ask(new[number], relation, fact, "reformulated", template))
    return split


def _ask(wording: str, relation: Mapping[str, Any], fact: int, kind: Kind, template: str) -> Question:
    text = Pattern(f"{wording} || {relation['answer']}", load_lexicon()).text(fact)
    if text is None:
        raise ValueError(f"the wording {wording!r} gives no question")
    question, answer = text.split(" || ")
    return Question(question, answer, kind, template)


def _opened(question: Question, opening: str) -> Question:
    # No wording starts with a name, so none loses a capital that it keeps inside a sentence.
    text = f"{opening} {question.question[0].lower()}{question.question[1:]}"
    return replace(question, question=text)


def _context(frames: Mapping[str, Any], rng: random.Random, num: int, num_heldout: int) -> Split:
    split: Split = {"train": [], "val": [], "test": []}
    lexicon = load_lexicon()
    for name, content in frames.items():
        patterns = read_patterns(content, lexicon)
        heldout = num_heldout // len(frames)
        texts = list(sample_texts(patterns, num // len(frames) + 2 * heldout, rng).values())
        rng.shuffle(texts)
        heldout = min(heldout, len(texts) // 4)
        for i, text in enumerate(texts):
            part = "test" if i < heldout else "val" if i < 2 * heldout else "train"
            context, question, answer = text.split(" || ")
            split[part].append(Question(question, answer, "context", f"context/{name}", context))
    return split


def _arithmetic(wordings: Mapping[str, list[str]], rng: random.Random, num_heldout: int) -> Split:
    split: Split = {"train": [], "val": [], "test": []}
    for operation, content in wordings.items():
        texts = [text for wording in content for text in expand_choices(wording)]
        operands = _operands(operation)
        # 3 + 4 and 4 + 3 are held out together, or the one would give the other away.
        kept_apart = sorted({tuple(sorted(pair)) for pair in operands})
        rng.shuffle(kept_apart)
        num_apart = round(_HELDOUT_OPERANDS * len(kept_apart))
        place = {pair: "test" if i < num_apart else "train" for i, pair in enumerate(kept_apart)}
        for number, wording in enumerate(texts):
            for a, b in operands:
                lexicon = {"n": (_operation(operation, a, b),)}
                split[place[min(a, b), max(a, b)]].append(
                    _calculate(wording, lexicon, f"arithmetic/{operation}-{number}")
                )
    rng.shuffle(split["test"])
    num_test = min(num_heldout, len(split["test"]) * 2 // 3)
    split["test"], split["val"] = split["test"][:num_test], split["test"][num_test:]
    return split


def _operands(operation: str) -> list[tuple[int, int]]:
    numbers = range(2, _LARGEST_NUMBER + 1)
    if operation == "plus":
        return [(a, b) for a in numbers for b in numbers if a + b <= _LARGEST_NUMBER]
    # A difference of one would ask for another verb and another noun: "sobra um euro".
    return [(a, b) for a in numbers for b in numbers if a - b >= 2]


def _operation(operation: str, a: int, b: int) -> Entry:
    result = a + b if operation == "plus" else a - b
    return Entry({"a": cardinal(a), "b": cardinal(b), "result": cardinal(result)})


def _calculate(wording: str, lexicon: Lexicon, template: str) -> Question:
    text = Pattern(f"{wording} || {{result n}}.", lexicon).text(0)
    if text is None:
        raise ValueError(f"the wording {wording!r} gives no sum")
    question, answer = text.split(" || ")
    return Question(question, answer, "arithmetic", template)
