"""Numbers and clock times against tables written by hand."""

from __future__ import annotations

import pytest

from amalia_mm.portuguese.spoken import at_clock, cardinal, clock, from_clock, it_is_clock, read_out


@pytest.mark.parametrize(
    ("number", "spoken"),
    [
        (0, "zero"), (1, "um"), (2, "dois"), (14, "catorze"), (16, "dezasseis"), (17, "dezassete"),
        (19, "dezanove"), (20, "vinte"), (21, "vinte e um"), (100, "cem"), (101, "cento e um"),
        (121, "cento e vinte e um"), (1000, "mil"), (1005, "mil e cinco"), (1100, "mil e cem"),
        (1234, "mil duzentos e trinta e quatro"), (2200, "dois mil e duzentos"), (10**9, "mil milhões"),
        (10**12, "um bilião"),
    ],
)  # fmt: skip
def test_cardinals_are_european(number: int, spoken: str) -> None:
    assert cardinal(number) == spoken


@pytest.mark.parametrize(
    ("number", "spoken"),
    [
        (1, "uma"), (2, "duas"), (3, "três"), (21, "vinte e uma"), (32, "trinta e duas"), (200, "duzentas"),
        (500, "quinhentas"), (2222, "duas mil duzentas e vinte e duas"), (2_000_002, "dois milhões e duas"),
        (101, "cento e uma"), (100, "cem"),
    ],
)  # fmt: skip
def test_feminine_cardinals_agree(number: int, spoken: str) -> None:
    assert cardinal(number, feminine=True) == spoken


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
    with pytest.raises(ValueError, match="-1"):
        cardinal(-1)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("25", "vinte e cinco"), ("0", "zero"), ("1.200", "mil e duzentos"), ("12,5%", "doze vírgula cinco por cento"),
        ("2,05", "dois vírgula zero cinco"), ("007", "zero zero sete"), ("3€", "três euros"), ("casa", "casa"),
        ("8:30", "8:30"), ("1.º", "1.º"), ("1.23", "1.23"), ("", ""),
    ],
)  # fmt: skip
def test_numbers_in_digits_are_read_out(written: str, said: str) -> None:
    assert read_out(written) == said
