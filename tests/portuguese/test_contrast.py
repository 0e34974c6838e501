"""The contrasts table: every row read, remarks stripped before alternatives, whole words only."""

from __future__ import annotations

from collections import Counter

import pytest

from amalia_mm.errors import InputError
from amalia_mm.portuguese.contrast import find_markers, load_contrasts, markers, parse_contrasts

HEADER = "category\tpt_PT\tpt_BR\tflag\tnote\n"


def test_the_table_has_the_rows_its_description_counts() -> None:
    rows = load_contrasts()
    assert Counter(row.category for row in rows) == {"LEX": 304, "ORT": 97}
    assert Counter(row.flag for row in rows) == {"S": 167, "P": 111, "B": 45, "A": 37, "V": 41}
    assert sum(not row.brazilian for row in rows if row.flag == "P") >= 2


def test_a_remark_with_a_semicolon_does_not_become_alternatives() -> None:
    (row,) = parse_contrasts(HEADER + "LEX\tfreguesia; aplicação (app)\t(distrito; bairro)\tA\t\n", "here")
    assert row.european == ("freguesia", "aplicação")
    assert row.brazilian == ()


@pytest.mark.parametrize("text", ["", "a\tb\n", HEADER + "LEX\tsó\tduas\n", HEADER + "LEX\ta\tb\tX\t\n"])
def test_a_broken_table_is_named(text: str) -> None:
    with pytest.raises(InputError, match="here"):
        parse_contrasts(text, "here")


def test_markers_are_whole_words_with_plurals() -> None:
    brazilian = markers(load_contrasts(), "brazilian")
    assert find_markers("Os ônibus e os caminhões vão ao café da manhã.", brazilian) == (
        "ônibus",
        "caminhões",
        "café da manhã",
    )
    assert find_markers("O autocarro tem golos.", brazilian) == ()
    assert find_markers("Tomo o café de manhã.", brazilian) == ()
    assert "..." not in " ".join(markers(load_contrasts(), "brazilian", flags=("V",)))


def test_european_and_brazilian_markers_of_strong_rows_never_meet() -> None:
    rows = load_contrasts()
    assert not markers(rows, "european") & markers(rows, "brazilian")
