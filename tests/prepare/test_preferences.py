"""Pairs of preference as people keep them, and the one line that each broken row gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amalia_mm.batch import Turn
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.errors import InputError
from amalia_mm.prepare.preferences import pair_of_row, write_preferences

USER = {"role": "user", "content": "Onde fica o banco?"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Ali, à esquerda.", "Sei lá."))
TURNS = (Turn("user", "Onde fica o banco?"), Turn("assistant", "Ali, à esquerda."))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Onde fica o banco?", "chosen": "Ali, à esquerda.", "rejected": "Sei lá."},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"messages": [USER], "chosen": "Ali, à esquerda.", "rejected": "Sei lá."},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "Onde fica o banco?", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 4},
    ],
    ids=["strings", "messages", "messages and strings", "whole conversations", "prompt said thrice"],
)
def test_one_pair_in_the_shapes_that_people_keep(row: dict[str, object]) -> None:
    record = pair_of_row(row, "x.jsonl:1", "a", "x.jsonl")
    assert record.turns == TURNS
    assert record.rejected == "Sei lá."


def test_what_the_system_says_stands_before_the_prompt() -> None:
    row = {"prompt": "Onde fica o banco?", "chosen": "Ali, à esquerda.", "rejected": "Sei lá."}
    assert pair_of_row({**row, "system": "Sê breve."}, "x", "a", "x").turns == (
        Turn("system", "Sê breve."),
        *TURNS,
    )


def test_an_empty_prompt_makes_a_pair_of_documents() -> None:
    record = pair_of_row(
        {"prompt": "", "chosen": "O comboio.", "rejected": "O trem.", "variety": "pt-PT"}, "x", "a", "x"
    )
    assert (record.text, record.rejected, record.turns) == ("O comboio.", "O trem.", ())


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"chosen": "a", "rejected": "b"}, "prompt: found no such field"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "prompt: found no such field"),
        ({"prompt": "a", "rejected": "b"}, "chosen: found no such field"),
        ({"prompt": "a", "chosen": "b"}, "rejected: found no such field"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "rejected: found ' '"),
        ({"prompt": "a", "chosen": "b", "rejected": "b "}, "rejected: found the same as chosen"),
        ({"prompt": "a", "chosen": "b", "rejected": 3}, "rejected: found 3"),
        (
            {"chosen": [USER, GOOD], "rejected": [{**USER, "content": "Quem és?"}, BAD]},
            "rejected: found 'Quem és?'",
        ),
        (
            {"prompt": "Quem és?", "chosen": [USER, GOOD], "rejected": "b"},
            "chosen: found 'Onde fica o banco?'",
        ),
        ({"chosen": [USER, GOOD], "rejected": "b"}, "rejected: found '' before the answer"),
        ({"chosen": [USER], "rejected": [USER, BAD]}, "chosen: found a last message of role user"),
        ({"chosen": [], "rejected": [USER, BAD]}, "chosen: found no answer"),
        (
            {"prompt": "a", "messages": [USER], "chosen": "b", "rejected": "c"},
            "messages: found beside a prompt",
        ),
        (
            {"prompt": [{"role": "bot", "content": "a"}], "chosen": "b", "rejected": "c"},
            "prompt[0].role: found 'bot'",
        ),
        ({"prompt": [GOOD], "chosen": "b", "rejected": "c"}, "prompt: found"),
    ],
)
def test_a_pair_that_is_none_is_told_with_its_line_and_field(
    row: dict[str, object], field: str, tmp_path: Path
) -> None:
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (good, row)), encoding="utf-8")
    with pytest.raises(InputError) as error:
        write_preferences([path], tmp_path / "shards")
    assert str(error.value).startswith(f"{path}:2: {field}")
    assert "wanted" in str(error.value) and not (tmp_path / "shards").exists()


def test_pairs_become_shards_and_prompts_keep_to_their_split(tmp_path: Path) -> None:
    rows = [{"prompt": f"pergunta {n // 2}", "chosen": f"sim {n}", "rejected": "não"} for n in range(120)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    splits: dict[str, set[str]] = {}
    total = 0
    for split in ("train", "val", "test"):
        total += write_preferences([path], tmp_path / split, split)
        index = ShardIndex.load(tmp_path / split)
        records = [read_record(index, number)[0] for number in range(len(index))]
        assert all(record.split == split for record in records)
        splits[split] = {record.turns[0].text for record in records}
    assert total == 120
    assert sum(map(len, splits.values())) == 60, "no prompt stands on two sides"
    path.write_text(json.dumps(next(row for row in rows if row["prompt"] in splits["train"])))
    with pytest.raises(InputError, match="no pair for test"):
        write_preferences([path], tmp_path / "none", "test")


def messages(*said: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(said)]


def test_space_around_a_prompt_does_not_make_it_another_and_answers_are_kept_as_they_stand():
    """As in ultrafeedback_binarized, where prompts end with a line break in one place and not in the other."""
    row = {"prompt": "Olá.", "chosen": messages("Olá.\n", "  a\n"), "rejected": messages("Olá.", "b")}
    record = pair_of_row(row, "t.jsonl:1", "1", "t")
    assert (record.turns[0].text, record.turns[1].text, record.rejected) == ("Olá.", "  a\n", "b")


@pytest.mark.parametrize(
    ("rejected", "told"),
    [("a \n", "rejected: found the same as chosen"), (" \n", "rejected: found no answer")],
)
def test_space_alone_is_no_other_answer(rejected, told):
    row = {"prompt": "Olá.", "chosen": messages("Olá.", "a"), "rejected": messages("Olá.", rejected)}
    with pytest.raises(InputError, match=told):
        pair_of_row(row, "t.jsonl:1", "1", "t")
