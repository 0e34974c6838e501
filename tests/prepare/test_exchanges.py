"""Long conversations come in parts, and no exchange is cut in two."""

from __future__ import annotations

import pytest

from amalia_mm.batch import Turn
from amalia_mm.prepare.exchanges import conversation_pieces

SYSTEM = Turn("system", "Fala baixo.")


def asked(word: str, num_words: int = 1) -> tuple[Turn, Turn]:
    return Turn("user", f"{word}?"), Turn("assistant", " ".join([word] * num_words))


def test_a_short_conversation_is_one_part():
    turns = (SYSTEM, *asked("Sim"), *asked("Não"))
    assert conversation_pieces(turns) == ([turns], 0)


def test_a_long_one_is_cut_before_a_question_and_the_system_speaks_first_in_each_part():
    exchanges = [asked(word, 20) for word in ("um", "dois", "três", "quatro")]
    turns = (SYSTEM, *(turn for exchange in exchanges for turn in exchange))
    parts, num_too_long = conversation_pieces(turns, max_bytes=320)
    assert num_too_long == 0
    assert len(parts) > 1
    assert all(
        part[0] == SYSTEM and part[1].role == "user" and part[-1].role == "assistant" for part in parts
    )
    assert [turn for part in parts for turn in part[1:]] == list(turns[1:])


def test_an_exchange_that_fits_nowhere_is_counted_and_the_others_stay():
    turns = (*asked("um"), *asked("dois", 500), *asked("três"))
    assert conversation_pieces(turns, max_bytes=200) == ([asked("um"), asked("três")], 1)


@pytest.mark.parametrize("turns", [(), (SYSTEM,), (Turn("user", "Olá?"),)])
def test_what_nobody_answers_is_in_no_part(turns):
    assert conversation_pieces(turns) == ([], 0)


def test_several_turns_of_one_side_stay_together():
    turns = (
        Turn("user", "Olá."),
        Turn("user", "Está aí?"),
        Turn("assistant", "Estou."),
        Turn("assistant", "Diga."),
    )
    assert conversation_pieces((*turns, *asked("Sim")), max_bytes=70)[0] == [turns, asked("Sim")]
