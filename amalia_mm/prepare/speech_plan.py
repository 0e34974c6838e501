"""Which lines are spoken, by whom and in which split, and which are only read.

It knows the corpus, the user's sentences and the voices; it makes no sound and writes nothing.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from amalia_mm.audio.no_speech import NO_SPEECH
from amalia_mm.data.schema import Split
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.corpus import Corpus, spoken_subset
from amalia_mm.prepare.grammar import Sentence
from amalia_mm.prepare.jumbled import JUMBLED, jumbled
from amalia_mm.prepare.lines import Line, voiced
from amalia_mm.prepare.own_text import OwnText
from amalia_mm.prepare.questions import Question
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES, Voice

SEEN, HELDOUT = "seen_template", "heldout_template"

T = TypeVar("T")


@dataclass(frozen=True)
class PlanSizes:
    """How many lines of each kind, at most: what the corpus does not hold is not made up.

    Args:
        sentences: Training sentences that are spoken and transcribed.
        questions: Training questions that are spoken, every other one answered and the others written down.
        nobody: Training clips without speech, and as many paths.
        val_sentences: Sentences that are watched.
        val_questions: Questions that are watched.
        test_seen: Held-out sentences of templates that training knows.
        test_heldout: Sentences of templates that training never saw.
        test_questions: Questions about known facts in unseen words.
        own_sentences: The user's sentences that are spoken for training.
        own_test: The user's held-out sentences that are spoken for the test.
        paths: Training sentences that are read as simulated paths.
        path_questions: Training questions that are read as simulated paths, half of them to be written down.
        jumbled: Lines of words in random order that are read as simulated paths, and repeated.
        spoken_jumbled: How many of these are spoken as well: an encoder that only hears sentences of known templates
            learns to foresee them, and mishears others.
        train_voices: How many of the training voices speak.
    """

    sentences: int = 2500
    questions: int = 1200
    nobody: int = 220
    val_sentences: int = 64
    val_questions: int = 24
    test_seen: int = 240
    test_heldout: int = 120
    test_questions: int = 100
    own_sentences: int = 2000
    own_test: int = 120
    paths: int = 6000
    path_questions: int = 2200
    jumbled: int = 5000
    spoken_jumbled: int = 2500
    train_voices: int = len(TRAIN_VOICES)

    @classmethod
    def smoke(cls) -> PlanSizes:
        """Return the smallest sizes with everything in them: some seconds of work."""
        return cls(
            *(72, 32, 4, 8, 4, 12, 8, 10),
            own_sentences=24,
            own_test=8,
            paths=200,
            path_questions=120,
            jumbled=40,
            spoken_jumbled=12,
            train_voices=4,
        )


@dataclass(frozen=True)
class Plan:
    """The lines to be spoken, by split (those without a voice are silence and noise), and those to be read as paths."""

    spoken: dict[Split, list[Line]]
    paths: list[Line]


def plan_speech(corpus: Corpus, own: OwnText, sizes: PlanSizes, seed: int) -> Plan:
    """Return what is spoken and what is read, the same for the same corpus and seed."""
    rng = random.Random(f"speech plan {seed}")
    sentences = spoken_subset(corpus, min(sizes.sentences, len(corpus.train)), seed)
    jumbled_lines = _jumbled_lines(corpus, own, sizes.jumbled, random.Random(f"jumbled {seed}"))
    train = [
        *_sentence_lines("train", sentences),
        *jumbled_lines[: sizes.spoken_jumbled],
        *_alternately_written(
            _question_lines("train", _spread(_askable(corpus.questions_train), sizes.questions, _fact, rng))
        ),
        *_some(own.sentences["train"], sizes.own_sentences, rng),
    ]
    val = [
        *_sentence_lines("val", _some(corpus.val, sizes.val_sentences, rng)),
        *_question_lines("val", _spread(_askable(corpus.questions_val), sizes.val_questions, _fact, rng)),
        *_some(own.sentences["val"], sizes.own_test // 5, rng),
    ]
    # Reformulated questions are what is measured when a question is spoken.
    reformulated = [question for question in corpus.questions_test if question.kind == "reformulated"]
    test = [
        *_sentence_lines("test", _spread(corpus.test_seen, sizes.test_seen, _template, rng), SEEN),
        *_sentence_lines("test", _spread(corpus.test_heldout, sizes.test_heldout, _template, rng), HELDOUT),
        *_question_lines("test", _spread(reformulated, sizes.test_questions, _fact, rng)),
        *_some(own.sentences["test"], sizes.own_test, rng),
    ]
    voices = _voices(sizes.train_voices)
    spoken: dict[Split, list[Line]] = {
        "train": [*voiced(train, voices, rng), *_nobody_lines(sizes.nobody)],
        "val": voiced(val, voices, rng),
        "test": voiced(test, TEST_VOICES, rng),
    }
    read = _some(corpus.train, sizes.paths, rng)
    asked = _askable(corpus.questions_train)
    paths = [
        *_sentence_lines("train", read),
        # Shuffled first: the questions come in pairs, plain and with an opening.
        *_alternately_written(_question_lines("train", _some(asked, sizes.path_questions, rng))),
        *jumbled_lines,
        *own.sentences["train"],
        # Paths of nothing but blanks: where nobody speaks, nothing is written.
        *(Line(f"train-nobody-{number:06d}", "", "train") for number in range(sizes.nobody)),
        *_sentence_lines("val", corpus.val),
        *_question_lines("val", _askable(corpus.questions_val)),
        *own.sentences["val"],
    ]
    return Plan(spoken, paths)


def _voices(num: int) -> tuple[Voice, ...]:
    """Return some of the training voices, women and men in turn."""
    women = [voice for voice in TRAIN_VOICES if voice.sex == "female"]
    men = [voice for voice in TRAIN_VOICES if voice.sex == "male"]
    turns = [voice for pair in zip(men, women, strict=False) for voice in pair]
    return tuple([*turns, *(voice for voice in TRAIN_VOICES if voice not in turns)][:num])


def _askable(questions: Sequence[Question]) -> list[Question]:
    """Return the questions that are asked in a breath: a context would have to be read out before."""
    return [question for question in questions if not question.context]


def _sentence_lines(split: Split, sentences: Sequence[Sentence], heldout: str | None = None) -> list[Line]:
    name = f"{split}-{heldout}" if heldout else f"{split}-sentence"
    return [
        Line(f"{name}-{number:06d}", s.text, split, template=s.template, heldout=heldout)
        for number, s in enumerate(sentences)
    ]


def _question_lines(split: Split, questions: Sequence[Question]) -> list[Line]:
    return [
        Line(
            f"{split}-question-{number:06d}", q.text, split, answer=q.answer, template=q.template, kind=q.kind
        )
        for number, q in enumerate(questions)
    ]


def _alternately_written(questions: Sequence[Line]) -> list[Line]:
    """Return the questions, every other one to be written down instead of answered."""
    return [replace(line, answer=None) if number % 2 else line for number, line in enumerate(questions)]


def _nobody_lines(num: int) -> list[Line]:
    """Return lines without words or voice, of every kind of silence and noise in turn."""
    kinds = [NO_SPEECH[number % len(NO_SPEECH)] for number in range(num)]
    return [
        Line(f"train-nobody-{number:04d}", "", "train", template=kind) for number, kind in enumerate(kinds)
    ]


def _jumbled_lines(corpus: Corpus, own: OwnText, num: int, rng: random.Random) -> list[Line]:
    read = (*corpus.train, *corpus.questions_train, *own.sentences["train"])
    heldout = (
        *(*corpus.val, *corpus.test_seen, *corpus.test_heldout, *corpus.questions_val),
        *(*corpus.questions_test, *own.sentences["val"], *own.sentences["test"]),
    )
    texts = [one.text for one in read]
    taken = {spoken_form(one.text) for one in heldout}
    return [
        Line(f"train-jumbled-{number:06d}", text, "train", template=JUMBLED)
        for number, text in enumerate(jumbled(texts, num, rng, taken))
    ]


def _some(items: Sequence[T], num: int, rng: random.Random) -> list[T]:
    return rng.sample(items, min(num, len(items)))


def _fact(question: Question) -> Hashable:
    return question.kind, question.template.partition("/")[0], question.answer


def _template(sentence: Sentence) -> Hashable:
    return sentence.template


def _spread(items: Sequence[T], num: int, group: Callable[[T], Hashable], rng: random.Random) -> list[T]:
    """Return up to `num` items, as evenly over their groups as these allow, in random order."""
    groups: defaultdict[Hashable, list[T]] = defaultdict(list)
    for item in rng.sample(items, len(items)):
        groups[group(item)].append(item)
    rounds = [
        (number, place, item)
        for place, members in enumerate(groups.values())
        for number, item in enumerate(members)
    ]
    rounds.sort(key=lambda entry: entry[:2])
    chosen = [item for _, _, item in rounds[:num]]
    rng.shuffle(chosen)
    return chosen
