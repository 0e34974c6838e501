"""What a conversation must be to be learned from; long ones come in parts, and no exchange is cut in two."""

from __future__ import annotations

import pytest

from amalia_mm.batch import Turn
from amalia_mm.data.conversation import fault_in, split_conversation

SYSTEM = Turn("system", "Fala baixo.")


def asked(word: str, num_words: int = 1) -> tuple[Turn, Turn]:
    return Turn("user", f"{word}?"), Turn("assistant", " ".join([word] * num_words))


def parts_of(turns, most):
    """Words as lengths."""
    return split_conversation(turns, [len(turn.text.split()) for turn in turns], most)


def test_a_short_conversation_is_one_part():
    turns = (SYSTEM, *asked("Sim"), *asked("Não"))
    assert parts_of(turns, 6) == ([turns], [])


def test_a_long_one_is_cut_before_a_question_and_the_system_speaks_first_in_each_part():
    exchanges = [asked(word, 20) for word in ("um", "dois", "três", "quatro", "cinco")]
    turns = (SYSTEM, *(turn for exchange in exchanges for turn in exchange))
    assert parts_of(turns, 2 + 2 * 21) == (
        [
            (SYSTEM, *exchanges[0], *exchanges[1]),
            (SYSTEM, *exchanges[2], *exchanges[3]),
            (SYSTEM, *exchanges[4]),
        ],
        [],
    )


def test_an_exchange_that_fits_nowhere_is_told_and_the_others_stay():
    turns = (SYSTEM, *asked("um"), *asked("dois", 500), *asked("três"))
    assert parts_of(turns, 200) == ([(SYSTEM, *asked("um")), (SYSTEM, *asked("três"))], [2 + 501])


def test_one_that_the_system_alone_fills_is_refused_exchange_by_exchange():
    turns = (Turn("system", "a " * 50), *asked("um"), *asked("dois"))
    assert parts_of(turns, 40) == ([], [52, 52])


@pytest.mark.parametrize("turns", [(), (SYSTEM,), (Turn("user", "Olá?"),)])
def test_what_nobody_answers_is_in_no_part(turns):
    assert parts_of(turns, 100) == ([], [])


def test_several_turns_of_one_side_stay_together():
    turns = (
        Turn("user", "Olá."),
        Turn("user", "Está aí?"),
        Turn("assistant", "Estou."),
        Turn("assistant", "Diga."),
    )
    assert parts_of((*turns, *asked("Sim")), 5)[0] == [turns, asked("Sim")]


ASK, ANSWER = Turn("user", "Que horas são?"), Turn("assistant", "São oito.")


@pytest.mark.parametrize(
    "turns",
    [(ASK, ANSWER), (SYSTEM, ASK, ANSWER, ASK), (ANSWER, ASK), (Turn("user", "", has_audio=True), ANSWER)],
)
def test_what_can_be_learned_from_has_no_fault(turns):
    assert fault_in(turns) is None


@pytest.mark.parametrize(
    ("turns", "turn", "field", "found"),
    [
        ((), None, "", "no assistant turn"),
        ((SYSTEM, ASK), None, "", "no assistant turn"),
        ((ASK, ANSWER, SYSTEM, ASK, ANSWER), 2, "role", "the system in turn 3"),
        ((SYSTEM, SYSTEM, ASK, ANSWER), 1, "role", "the system in turn 2"),
        ((ASK, ASK, ANSWER), 1, "role", "two turns of the user in a row"),
        ((ASK, ANSWER, ANSWER), 2, "role", "two turns of the assistant in a row"),
        ((ASK, Turn("assistant", " \n")), 1, "text", "an empty turn of the assistant"),
        ((Turn("system", ""), ASK, ANSWER), 0, "text", "an empty turn of the system"),
    ],
)
def test_the_first_fault_is_named(turns, turn, field, found):
    fault = fault_in(turns)
    assert fault is not None
    assert (fault.turn, fault.field, fault.found) == (turn, field, found)
