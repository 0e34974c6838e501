"""Which utterances are wanted, in which split each stands, and which of two alike stays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.prepare.choice import parse_choices
from amalia_mm.prepare.corpus_plan import Wishes, plan_corpus, split_groups
from amalia_mm.prepare.readers.row import CorpusRow
from amalia_mm.variety import Variety


def row(name: str, text: str = "bom dia a todos", split: str | None = "train", **changes) -> CorpusRow:
    fields = {"lesson": changes.pop("lesson", "um"), "clean": changes.pop("clean", "true")}
    return CorpusRow(
        where=f"m:{name}",
        id=name,
        audio=Path(f"{name}.wav"),
        text=text,
        split=split,
        fields=fields,
        **changes,
    )


def test_rows_are_chosen_by_their_fields_and_counted() -> None:
    rows = [
        row("a"),
        row("b", clean="false"),
        row("c", lesson="dois"),
        row("d", clean="False", lesson="dois"),
    ]
    plan = plan_corpus(rows, Wishes(choices=parse_choices(["clean=True", "lesson!=dois"])))
    assert [one.id for one in plan.rows] == ["a"]
    assert plan.left_out == {"clean=True": 2, "lesson!=dois": 1}


@pytest.mark.parametrize("text", ["clean", "=x", "!=x", ""])
def test_a_choice_needs_a_field_and_a_value(text: str) -> None:
    with pytest.raises(InputError, match="FIELD=VALUE"):
        parse_choices([text])


def test_a_field_that_is_named_twice_may_have_either_value_and_none_that_is_refused() -> None:
    rows = [
        row(name, lesson=lesson) for name, lesson in zip("abcd", ("um", "Dois", "três", "dois"), strict=True)
    ]
    plan = plan_corpus(rows, Wishes(choices=parse_choices(["lesson=um", "id!=d", "lesson=DOIS"])))
    assert [one.id for one in plan.rows] == ["a", "b"]
    assert plan.left_out == {"lesson=um or lesson=DOIS": 1, "id!=d": 1}


def test_a_field_that_no_row_has_is_a_mistake_and_not_an_empty_value() -> None:
    with pytest.raises(InputError, match="clear: found no row with it"):
        plan_corpus([row("a")], Wishes(choices=parse_choices(["clear!=no"])))


def test_groups_stand_in_one_split_in_about_the_shares() -> None:
    rows = [
        row(f"{lesson}-{n}", lesson=f"l{lesson}", split="train")
        for lesson in range(40)
        for n in range(5 + lesson % 7)
    ]
    plan = plan_corpus(rows, Wishes(split_by="lesson", val_share=0.1, test_share=0.2))
    splits: dict[str, set[str | None]] = {}
    for one in plan.rows:
        splits.setdefault(one.fields["lesson"], set()).add(one.split)
    assert all(len(found) == 1 for found in splits.values())
    shares = Counter(one.split for one in plan.rows)
    assert shares["test"] / len(rows) == pytest.approx(0.2, abs=0.04)
    assert shares["val"] / len(rows) == pytest.approx(0.1, abs=0.04)
    assert (
        plan_corpus(rows[::-1], Wishes(split_by="lesson", val_share=0.1, test_share=0.2)).rows
        == plan.rows[::-1]
    )


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 500), min_size=3, max_size=30))
def test_every_split_has_a_group_whatever_their_sizes(sizes: dict[str, int]) -> None:
    splits = split_groups(Counter(sizes), "lesson", 0.05, 0.1)
    assert set(splits) == set(sizes) and set(splits.values()) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("names", "shares"), [("ab", (0.05, 0.1)), ("abcd", (0.5, 0.5)), ("abcd", (-0.1, 0.1))]
)
def test_too_few_groups_and_impossible_shares_are_refused(names: str, shares: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="--split-by lesson"):
        split_groups(Counter(names), "lesson", *shares)


def test_what_is_not_said_is_taken_from_the_wishes_and_only_then() -> None:
    rows = [row("a", variety=Variety.PT_BR, licence="CC0-1.0"), row("b")]
    plan = plan_corpus(rows, Wishes(variety=Variety.PT_PT, licence="CC-BY-4.0"))
    assert [(one.variety, one.licence) for one in plan.rows] == [
        (Variety.PT_BR, "CC0-1.0"),
        (Variety.PT_PT, "CC-BY-4.0"),
    ]


def test_bad_rows_are_told_with_their_reasons() -> None:
    rows = [row("a"), row("b", ""), row("c", "привет"), CorpusRow("m:d", "d", None, "olá", split="test")]
    plan = plan_corpus(rows, Wishes())
    assert [one.id for one in plan.rows] == ["a"]
    assert {one.row.id: one.fault.reason for one in plan.refused} == {
        "b": "empty_text",
        "c": "another_script",
        "d": "no_audio",
    }


def test_of_two_alike_the_one_that_is_tested_on_stays() -> None:
    """The same utterance in training and test would make a test of memory of it."""
    rows = [row("a"), row("b"), row("a", split="test"), row("b", split="train")]
    plan = plan_corpus(rows, Wishes())
    assert [(one.id, one.split) for one in plan.rows] == [("b", "train"), ("a", "test")]
    assert [(one.row.id, one.fault.reason) for one in plan.refused] == [
        ("a", "duplicate_across_splits"),
        ("b", "duplicate"),
    ]
    assert plan.refused[0].fault.value == "the id of m:a (test)"


def test_a_sentence_of_a_speaker_is_one_utterance_where_that_is_wanted() -> None:
    rows = [
        row("a", "Bom dia!", speaker="ana"),
        row("b", "bom dia", split="val", speaker="ana"),
        row("c", "bom dia", speaker="rui"),
        row("d", "bom dia"),
    ]
    assert len(plan_corpus(rows, Wishes()).rows) == 4
    plan = plan_corpus(rows, Wishes(same_sentence=True))
    assert [one.id for one in plan.rows] == ["b", "c", "d"]
    assert [one.fault.reason for one in plan.refused] == ["duplicate_across_splits"]
