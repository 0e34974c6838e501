"""Recordings that share a lesson stay on one side of a split."""

from __future__ import annotations

import json

import pytest

from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.prepare.choice import Choice
from amalia_mm.prepare.corpora import read_speech_manifest
from amalia_mm.prepare.grouped import GroupedSplit, split_groups, write_split


def manifest(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROWS = [
    {"audio": f"a/{lesson}{number}.wav", "text": f"{lesson} {number}", "lesson": lesson, "clean": number != 3}
    for lesson in ("bichos", "casa", "comida", "tempo", "verbos")
    for number in range(4)
]


def test_no_lesson_stands_on_two_sides_and_audio_is_found_from_anywhere(tmp_path):
    path = manifest(tmp_path / "there", ROWS)
    output = tmp_path / "here" / "split.jsonl"
    counts = write_split(path, output, GroupedSplit("lesson", (Choice("clean", ("true",)),), 0.2, 0.2))
    assert counts == {"train": 9, "val": 3, "test": 3, "left out": 5}
    recordings, _ = read_speech_manifest(output)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert all(row["clean"] for row in rows)
    by_lesson = {
        row["lesson"]: {one["split"] for one in rows if one["lesson"] == row["lesson"]} for row in rows
    }
    assert all(len(splits) == 1 for splits in by_lesson.values())
    assert recordings[0].audio == tmp_path / "there/a/bichos0.wav"


def test_the_split_follows_from_names_alone():
    rows = [row["lesson"] for row in ROWS]
    assert split_groups(rows, 0.2, 0.2, "m") == split_groups(rows[::-1], 0.2, 0.2, "m")


def test_shares_are_reached_and_something_is_left_to_learn_from():
    splits = split_groups([*"aaaaaaaaaa", *"bbb", *"cc"], 0.5, 0.9, "m")
    assert "train" in splits.values()
    assert set(splits.values()) >= {"train", "test"}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (GroupedSplit("leson"), "leson"),
        (GroupedSplit(choices=(Choice("cleen", ("true",)),)), "cleen"),
        (GroupedSplit(choices=(Choice("clean", ("maybe",)),)), "m.jsonl"),
        (GroupedSplit("clean"), "by"),
    ],
)
def test_what_cannot_be_split_is_told(tmp_path, wanted, field):
    rows = [{**row, "clean": str(row["clean"])} for row in ROWS]
    with pytest.raises(InputError, match=field):
        write_split(manifest(tmp_path, rows), tmp_path / "out.jsonl", wanted)


def test_the_command_keeps_rows_with_either_value_and_without_a_refused_one(tmp_path, capsys):
    path, output = manifest(tmp_path, ROWS), tmp_path / "some.jsonl"
    where = ["lesson=casa", "lesson=verbos", "clean=true", "text!=casa 1"]
    words = [word for each in where for word in ("--where", each)]
    assert main(["shards", "split", str(path), "--output", str(output), *words]) == 0, capsys.readouterr().err
    kept = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert kept == ["casa 0", "casa 2", "verbos 0", "verbos 1", "verbos 2"]
    assert main(["shards", "split", str(path), "--output", str(output), "--where", "clean"]) == 2
    assert "--where: found clean; wanted FIELD=VALUE or FIELD!=VALUE" in capsys.readouterr().err


def test_the_manifest_itself_is_never_written_over(tmp_path, capsys):
    path = manifest(tmp_path, ROWS)
    before = path.read_text()
    assert main(["shards", "split", str(path), "--output", str(path), "--by", "lesson"]) == 2
    assert path.read_text() == before
    assert "not the manifest itself" in capsys.readouterr().err
