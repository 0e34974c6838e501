"""The user's own text as shards: whole, in its splits, and what is left out is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amalia_mm.batch import Turn
from amalia_mm.data.shards import ShardIndex, read_record


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """Forty conversations, two of which nobody can learn from, and a document."""

    def said(number: int) -> list[dict[str, str]]:
        return [
            {"role": "system", "content": "Sê breve."},
            {"role": "user", "content": f"Quanto é {number} e um?"},
            {"role": "assistant", "content": f"É {number + 1}. " + "Bem contado. " * 200},
        ]

    rows = [{"messages": said(number), "variety": "pt-PT"} for number in range(40)]
    rows[3]["messages"].pop()
    rows[5]["messages"].insert(1, rows[5]["messages"][0])
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"text": "Era uma vez."}]))
    return path


def records(folder):
    index = ShardIndex.load(folder)
    return [read_record(index, number)[0] for number in range(len(index))]


def test_conversations_and_documents_become_records_whole(amalia, chat, tmp_path):
    code, out, err = amalia("shards", "write-text", chat, "--output", tmp_path / "all")
    assert code == 0
    assert out == f"{tmp_path / 'all'}\t38 of chat\t1 of document\n"
    assert "a conversation in which nobody answers: 1" in err
    assert "speaks twice in a row" in err
    found = {record.id: record for record in records(tmp_path / "all")}
    assert len(found) == 39
    first = next(record for record in found.values() if "Quanto é 0 e um?" in record.turns[1].text)
    assert first.turns[0] == Turn("system", "Sê breve.")
    assert len(first.turns[2].text) > 2000, "nothing is cut here: how long a row is, the run knows"
    assert first.source == "text:chat.jsonl"
    assert sum(record.text == "Era uma vez." for record in found.values()) == 1


def test_the_splits_are_apart_and_together_the_whole(amalia, chat, tmp_path):
    parts = {}
    for split in ("train", "val", "test"):
        code, *_ = amalia("shards", "write-text", chat, "--output", tmp_path / split, "--split", split)
        assert code == 0
        parts[split] = {record.id for record in records(tmp_path / split)}
        assert {record.split for record in records(tmp_path / split)} == {split}
    amalia("shards", "write-text", chat, "--output", tmp_path / "all")
    assert sorted(i for part in parts.values() for i in part) == [r.id for r in records(tmp_path / "all")]


def test_a_folder_that_is_there_and_a_split_without_text_are_one_line(amalia, chat, tmp_path):
    code, _, err = amalia("shards", "write-text", chat, "--output", tmp_path)
    assert code == 2 and "--output: found" in err
    chat.write_text(json.dumps({"text": "Era uma vez."}))
    folders = {
        s: amalia("shards", "write-text", chat, "--output", tmp_path / s, "--split", s)
        for s in ("train", "val")
    }
    assert sorted(code for code, *_ in folders.values()) == [0, 2]
    assert any("--split: found no text of it in" in err for _, _, err in folders.values())
