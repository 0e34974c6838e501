"""Questions: the answers are right, and what is measured was never learned."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.portuguese.numbers import cardinal
from amalia_mm.prepare.grammar import expand_choices
from amalia_mm.prepare.lexicon import load_lexicon, read_data
from amalia_mm.prepare.questions import Question, QuestionSets, build_questions

NUMBERS = {cardinal(number): number for number in range(41)}


@pytest.fixture(scope="module")
def sets() -> QuestionSets:
    return build_questions(random.Random(0))


def forms_by_relation() -> dict[str, list[str]]:
    relations = read_data("questions.yaml")["known"]
    tables = {name: load_lexicon()[relation["facts"]] for name, relation in relations.items()}
    return {
        name: sorted(
            {form.lower() for entry in entries for form in entry.forms.values()}, key=len, reverse=True
        )
        for name, entries in tables.items()
    }


FORMS = forms_by_relation()


def fact(question: Question) -> tuple[str, str, str]:
    """The relation, the answer and the longest word of the relation's table that the question names."""
    relation = question.template.partition("/")[0]
    spoken = f" {spoken_form(question.question)} "
    named = (form for form in FORMS[relation] if f" {form} " in spoken)
    return relation, question.answer, next(named, "").split()[-1]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Qual é a capital de França?", "Paris."),
        ("Que dia vem depois de domingo?", "Segunda-feira."),
        ("Que mês vem depois de dezembro?", "Janeiro."),
        ("Qual é o contrário de quente?", "Frio."),
        ("De que cor é a neve?", "É branca."),
        ("Que animal põe ovos?", "A galinha."),
        ("Para que serve a chave?", "Para abrir a porta."),
        ("Quem apaga o fogo?", "O bombeiro."),
        ("Quantas patas tem uma aranha?", "Oito."),
        ("Que dia vem antes de segunda-feira?", "Domingo."),
    ],
)
def test_known_facts_are_right(sets: QuestionSets, text: str, answer: str) -> None:
    asked = {question.question: question.answer for question in (*sets.train, *sets.val, *sets.test)}
    assert asked[text] == answer


def test_there_are_enough_and_each_fact_has_one_answer(sets: QuestionSets) -> None:
    assert len(sets.train) >= 10_000
    known = read_data("questions.yaml")["known"]
    assert 100 <= sum(len(load_lexicon()[relation["facts"]]) for relation in known.values()) <= 140
    answers: dict[str, str] = {}
    for question in (*sets.train, *sets.val, *sets.test):
        assert answers.setdefault(spoken_form(question.text), question.answer) == question.answer


def test_each_fact_is_learned_in_eight_wordings_at_least(sets: QuestionSets) -> None:
    wordings: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for question in sets.train:
        if question.kind == "known":
            wordings[fact(question)].add(question.template)
    assert len(wordings) >= 100
    assert min(len(found) for found in wordings.values()) >= 8


def test_a_reformulated_question_is_a_known_fact_in_a_wording_it_was_never_asked_in(
    sets: QuestionSets,
) -> None:
    learned = {(fact(question), question.template) for question in sets.train if question.kind == "known"}
    facts = {known for known, _ in learned}
    templates = {template for _, template in learned}
    counts: Counter[str] = Counter()
    for question in sets.test:
        if question.kind == "reformulated":
            wording, _, novelty = question.template.rpartition("/")
            counts[novelty] += 1
            assert fact(question) in facts
            assert (fact(question), wording) not in learned
            assert (wording in templates) == (novelty == "new-pair")
    assert counts["new-pair"] == counts["new-wording"] >= 100


def test_new_wordings_are_not_among_the_learned_ones() -> None:
    for name, relation in read_data("questions.yaml")["known"].items():
        asked = {text for wording in relation["wordings"] for text in expand_choices(wording)}
        new = {text for wording in relation["new_wordings"] for text in expand_choices(wording)}
        assert len(asked) >= 10, name
        assert new and not asked & new, name


def test_the_answer_of_a_context_question_stands_in_the_context(sets: QuestionSets) -> None:
    asked = [q for part in (sets.train, sets.val, sets.test) for q in part if q.kind == "context"]
    assert len({question.template for question in asked}) >= 6
    for question in asked:
        answer = spoken_form(question.answer).removeprefix("de ")
        assert answer in spoken_form(question.context), question
        assert question.question.endswith("?")


def numbers_of(question: Question) -> tuple[int, ...]:
    return tuple(NUMBERS[word] for word in spoken_form(question.question).split() if word in NUMBERS)


def test_sums_are_right_and_their_operands_are_held_out_together(sets: QuestionSets) -> None:
    operands: dict[str, set[tuple[str, tuple[int, ...]]]] = {}
    for part in ("train", "test"):
        operands[part] = set()
        for question in getattr(sets, part):
            if question.kind == "arithmetic":
                a, b = numbers_of(question)
                plus = "plus" in question.template
                assert NUMBERS[spoken_form(question.answer)] == (a + b if plus else a - b), question
                assert max(a, b, a + b if plus else 0) <= 20
                operands[part].add((question.template.split("-")[0], tuple(sorted((a, b)))))
    assert operands["train"] and operands["test"]
    assert not operands["train"] & operands["test"]


def test_no_two_questions_have_one_spoken_form(sets: QuestionSets) -> None:
    spoken = [spoken_form(question.text) for part in (sets.train, sets.val, sets.test) for question in part]
    assert len(spoken) == len(set(spoken))


def test_the_questions_follow_from_the_seed_and_spare_what_is_taken(sets: QuestionSets) -> None:
    assert build_questions(random.Random(0)) == sets
    gone = spoken_form(sets.train[0].text)
    again = build_questions(random.Random(0), taken=[gone])
    assert gone not in {spoken_form(question.text) for question in again.train}
