"""Needles in a haystack: conversations about small facts hidden in long text, to learn and to measure a long context.

A needle is a sentence that says somebody's password; around it stands text that has nothing to do with it. Who answers
must find the one sentence of that name, wherever it stands (Mohtashami & Jaggi 2023, arXiv 2305.16300: passkeys).
It knows tokens and records; it does not know what documents the hay is made of, nor models.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from amalia_mm.batch import Turn
from amalia_mm.errors import InputError

NAMES = (
    *(
        "o Abel",
        "a Alda",
        "o André",
        "a Ana",
        "o António",
        "a Berta",
        "o Carlos",
        "a Célia",
        "o Diogo",
        "a Dora",
    ),
    *("o Elói", "a Eva", "o Fausto", "a Flora", "o Gil", "a Graça", "o Hugo", "a Inês", "o Ivo", "a Joana"),
    *(
        "o João",
        "a Laura",
        "o Luís",
        "a Maria",
        "o Mário",
        "a Marta",
        "o Miguel",
        "a Olga",
        "o Nuno",
        "a Paula",
    ),
    *(
        "o Paulo",
        "a Rita",
        "o Pedro",
        "a Rosa",
        "o Rui",
        "a Sara",
        "o Tiago",
        "a Teresa",
        "o Vasco",
        "a Vera",
    ),
)
"""Each with its article, which European Portuguese asks for before a person's name."""
DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where measured needles stand, as a part of the haystack; every depth as often as any other."""
_WORDS = (
    *(
        "barco",
        "bolo",
        "cadeira",
        "café",
        "cama",
        "carro",
        "casa",
        "chave",
        "chá",
        "cinema",
        "comboio",
        "copo",
    ),
    *("cão", "faca", "flor", "gato", "gelado", "leite", "limão", "livro", "lua", "mar", "maçã", "mesa"),
    *("museu", "pato", "pera", "ponte", "porta", "praia", "prato", "pão", "rio", "rosa", "rua", "saco"),
    *(
        "sal",
        "sol",
        "sopa",
        "teatro",
        "torre",
        "uva",
        "vaca",
        "banana",
        "queijo",
        "laranja",
        "cavalo",
        "papel",
    ),
)
_CONTRACTED = {"o": "do", "a": "da"}


@dataclass(frozen=True)
class NeedleTask:
    """How long a haystack is, and how much stands in it.

    Args:
        num_tokens: Most tokens of a whole conversation.
        num_needles: Passwords in each haystack; all but those asked for mislead.
        num_questions: How many of them are asked for, in training; a measured conversation asks for one.
    """

    num_tokens: int
    num_needles: int = 4
    num_questions: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.num_questions <= self.num_needles <= len(NAMES):
            found = f"{self.num_questions} questions about {self.num_needles} needles"
            wanted = f"at least one question, and no more than needles, of which there can be {len(NAMES)}"
            raise InputError(
                "needles", field="num_questions", found=found, wanted=wanted, remedy="change them"
            )


CountTokens = Callable[[Sequence[Turn]], int]
"""The tokens of a whole conversation, template included."""


def training_conversations(
    task: NeedleTask, hay: Sequence[str], count_tokens: CountTokens, rng: random.Random, num: int
) -> Iterator[tuple[Turn, ...]]:
    """Yield conversations of any length up to `task.num_tokens`, needles at random places.

    Args:
        task: Length and needles.
        hay: Sentences in the order of their documents; read on from a random one.
        count_tokens: The tokens of a conversation.
        rng: Every choice.
        num: How many.

    Raises:
        InputError: The needles alone are longer than `task.num_tokens`.
    """
    for _ in range(num):
        needles = _needles(task.num_needles, rng)
        asked = rng.sample(needles, task.num_questions)
        most = rng.randint(_least(needles, asked, count_tokens, task), task.num_tokens)
        straw = _straw(hay, most, needles, asked, count_tokens, rng)
        for needle in needles:
            straw.insert(rng.randint(0, len(straw)), needle.sentence)
        yield _conversation(straw, asked)


def measured_conversations(
    task: NeedleTask, hay: Sequence[str], count_tokens: CountTokens, rng: random.Random, num: int
) -> Iterator[tuple[Turn, ...]]:
    """Yield conversations as long as `task.num_tokens` allows, each with one question, its needle at each of `DEPTHS`.

    The passwords of one haystack begin with different letters: what is measured is whether the right one is found, not
    whether a word is ended as another that begins alike.

    Arguments and errors as `training_conversations`.
    """
    for number in range(num):
        needles = _needles(task.num_needles, rng, are_apart=True)
        asked, others = needles[0], needles[1:]
        _least(needles, [asked], count_tokens, task)
        straw = _straw(hay, task.num_tokens, needles, [asked], count_tokens, rng)
        for needle in others:
            straw.insert(rng.randint(0, len(straw)), needle.sentence)
        straw.insert(round(DEPTHS[number % len(DEPTHS)] * len(straw)), asked.sentence)
        yield _conversation(straw, [asked])


@dataclass(frozen=True)
class _Needle:
    name: str
    word: str

    @property
    def _of(self) -> str:
        article, _, name = self.name.partition(" ")
        return f"{_CONTRACTED[article]} {name}"

    @property
    def sentence(self) -> str:
        return f"A senha {self._of} é {self.word}."

    @property
    def question(self) -> str:
        return f"Qual é a senha {self._of}?"

    @property
    def answer(self) -> str:
        return f"{self.word}."


def _needles(num: int, rng: random.Random, are_apart: bool = False) -> list[_Needle]:
    names, words = rng.sample(NAMES, num), rng.sample(_WORDS, len(_WORDS) if are_apart else num)
    if are_apart:
        # One word of each letter first; where there are more needles than letters, a second one of each, and so on.
        times: Counter[str] = Counter()
        rounds: list[int] = []
        for word in words:
            rounds.append(times[word[0]])
            times[word[0]] += 1
        words = [word for _, word in sorted(zip(rounds, words, strict=True), key=itemgetter(0))]
    return [_Needle(name, word) for name, word in zip(names, words[:num], strict=True)]


def _least(
    needles: Sequence[_Needle], asked: Sequence[_Needle], count_tokens: CountTokens, task: NeedleTask
) -> int:
    """Return the tokens of a conversation without hay, one that fits."""
    least = count_tokens(_conversation([needle.sentence for needle in needles], asked))
    if least > task.num_tokens:
        found, wanted = f"{least} tokens of needles and questions", f"at most {task.num_tokens} in all"
        remedy = "ask for fewer needles, or more tokens"
        raise InputError("needles", field="num_tokens", found=found, wanted=wanted, remedy=remedy)
    return least


def _straw(
    hay: Sequence[str],
    most: int,
    needles: Sequence[_Needle],
    asked: Sequence[_Needle],
    count_tokens: CountTokens,
    rng: random.Random,
) -> list[str]:
    """Return about as much hay as fits beside the needles, never more: tokens do not quite add up over sentences."""
    least = _least(needles, asked, count_tokens, NeedleTask(most, len(needles), len(asked)))
    # One sentence after another from some place on, as in a long document.
    start = rng.randrange(len(hay))
    sentences = [needle.sentence for needle in needles]
    num = (most - least) // 4  # few sentences have fewer than four tokens
    while num:
        straw = [hay[(start + number) % len(hay)] for number in range(num)]
        num_tokens = count_tokens(_conversation([*straw, *sentences], asked))
        if num_tokens <= most:
            return straw
        num = min(num - 1, num * (most - least) // (num_tokens - least))
    return []


def _conversation(straw: Sequence[str], asked: Sequence[_Needle]) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for number, needle in enumerate(asked):
        question = needle.question if number else " ".join([*straw, needle.question])
        turns += [Turn("user", question), Turn("assistant", needle.answer)]
    return tuple(turns)
