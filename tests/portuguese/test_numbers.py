"""Numbers against tables written by hand."""

from __future__ import annotations

import pytest

from amalia_mm.portuguese.numbers import cardinal, decimal, one_by_one, ordinal, read_out


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
    ("number", "masculine", "feminine"),
    [
        (1, "primeiro", "primeira"), (10, "décimo", "décima"), (11, "décimo primeiro", "décima primeira"),
        (22, "vigésimo segundo", "vigésima segunda"), (30, "trigésimo", "trigésima"),
        (40, "quadragésimo", "quadragésima"),
        (50, "quinquagésimo", "quinquagésima"), (60, "sexagésimo", "sexagésima"), (70, "septuagésimo", "septuagésima"),
        (80, "octogésimo", "octogésima"), (90, "nonagésimo", "nonagésima"), (100, "centésimo", "centésima"),
        (400, "quadringentésimo", "quadringentésima"), (1000, "milésimo", "milésima"),
        (725, "septingentésimo vigésimo quinto", "septingentésima vigésima quinta"),
    ],
)  # fmt: skip
def test_ordinals_agree(number: int, masculine: str, feminine: str) -> None:
    assert ordinal(number) == masculine
    assert ordinal(number, feminine=True) == feminine
    assert ordinal(number, plural=True) == " ".join(f"{word}s" for word in masculine.split())


def test_thousands_of_millions_are_joined() -> None:
    assert cardinal(2_500_000_000) == "dois mil e quinhentos milhões"
    assert cardinal(1_200_000_000) == "mil e duzentos milhões"
    assert cardinal(1_234_000_000) == "mil duzentos e trinta e quatro milhões"


def test_decimals_keep_their_zeros() -> None:
    assert decimal("47") == "quarenta e sete"
    assert decimal("05") == "zero cinco"
    assert decimal("084") == "zero oitenta e quatro"
    assert decimal("00") == "zero zero"
    assert decimal("1415") == "um quatro um cinco"
    assert one_by_one("960") == "nove seis zero"


def test_what_has_no_spoken_form_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        cardinal(-1)
    with pytest.raises(ValueError, match="0"):
        ordinal(0)
    with pytest.raises(ValueError, match="2000"):
        ordinal(2000)


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
