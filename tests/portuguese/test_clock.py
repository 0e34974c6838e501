"""Clock times as they are told, against a table written by hand."""

from __future__ import annotations

import pytest

from amalia_mm.portuguese.reading.clock import at_clock, clock, from_clock, it_is_clock


@pytest.mark.parametrize(
    ("hour", "minute", "spoken", "at", "it_is"),
    [
        (8, 0, "oito", "às oito", "são oito"),
        (8, 30, "oito e meia", "às oito e meia", "são oito e meia"),
        (13, 0, "uma", "à uma", "é uma"),
        (1, 15, "uma e um quarto", "à uma e um quarto", "é uma e um quarto"),
        (14, 10, "duas e dez", "às duas e dez", "são duas e dez"),
        (8, 45, "nove menos um quarto", "às nove menos um quarto", "são nove menos um quarto"),
        (11, 50, "meio-dia menos dez", "ao meio-dia menos dez", "é meio-dia menos dez"),
        (12, 0, "meio-dia", "ao meio-dia", "é meio-dia"),
        (12, 30, "meio-dia e meia", "ao meio-dia e meia", "é meio-dia e meia"),
        (0, 0, "meia-noite", "à meia-noite", "é meia-noite"),
        (23, 40, "meia-noite menos vinte", "à meia-noite menos vinte", "é meia-noite menos vinte"),
    ],
)
def test_clock_times(hour: int, minute: int, spoken: str, at: str, it_is: str) -> None:
    assert clock(hour, minute) == spoken
    assert at_clock(hour, minute) == at
    assert it_is_clock(hour, minute) == it_is


def test_the_train_of_a_time() -> None:
    assert [from_clock(8, 30), from_clock(13), from_clock(12)] == ["das oito e meia", "da uma", "do meio-dia"]


def test_what_no_clock_shows_is_refused() -> None:
    with pytest.raises(ValueError, match="24:0"):
        clock(24, 0)
