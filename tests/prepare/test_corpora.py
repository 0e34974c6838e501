"""The user's own manifests and texts: what is read, what is counted and left out, how bad input is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from amalia_mm.batch import Turn
from amalia_mm.errors import InputError
from amalia_mm.prepare.corpora import read_speech_manifest, read_text
from amalia_mm.prepare.sentences import split_of
from amalia_mm.variety import Variety


def _jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_says_all_it_can(tmp_path: Path) -> None:
    row = {
        "audio": "sons/um.wav",
        "text": " Bom dia. ",
        "id": 7,
        "speaker": "Ana",
        "variety": "pt_PT",
        "split": "validation",
        "licence": "CC0-1.0",
        "dur": 1.5,
    }
    recordings, notes = read_speech_manifest(_jsonl(tmp_path / "m.jsonl", [row]))
    (one,) = recordings
    assert (one.id, one.text, one.speaker, one.licence) == ("7", "Bom dia.", "Ana", "CC0-1.0")
    assert (one.variety, one.split) == (Variety.PT_PT, "val")
    assert one.audio == tmp_path / "sons/um.wav"
    assert one.where == f"{tmp_path / 'm.jsonl'}:1"
    assert not notes


def test_rows_without_text_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = [
        {"audio": "a.wav", "text": None},
        {"audio": "b.wav", "text": "Olá."},
        {"audio": "c.wav", "text": None},
    ]
    recordings, notes = read_speech_manifest(_jsonl(tmp_path / "m.jsonl", rows))
    assert [r.audio.name for r in recordings] == ["b.wav"]
    assert notes == {"no text (null)": 2}


def test_a_foreign_variety_is_other_and_is_told(tmp_path: Path) -> None:
    rows = [
        {"audio": "a.mp3", "text": "cereeira", "variety": "Minderico (drc), spoken by natives of Minde"},
        {"audio": "b.mp3", "text": "hello", "lang": "en-US"},
        {"audio": "c.mp3", "text": "oi", "lang": "pt-BR"},
        {"audio": "d.mp3", "text": "olá", "lang": "pt"},
    ]
    recordings, notes = read_speech_manifest(_jsonl(tmp_path / "m.jsonl", rows))
    assert [r.variety for r in recordings] == [Variety.OTHER, Variety.OTHER, Variety.PT_BR, Variety.UNKNOWN]
    assert sum(notes.values()) == 2


def test_ids_that_are_not_given_come_from_the_path_and_are_unique(tmp_path: Path) -> None:
    rows = [
        {"audio": "x/a.wav", "text": "um"},
        {"audio": "x/a.wav", "text": "dois"},
        {"audio": "y/a.wav", "text": "três"},
    ]
    recordings, _ = read_speech_manifest(_jsonl(tmp_path / "m.jsonl", rows))
    assert [r.id for r in recordings] == ["x/a", "x/a@2", "y/a"]


@pytest.mark.parametrize(
    ("row", "field", "found"),
    [
        ({"text": "olá"}, "audio", "no such field among text"),
        ({"audio": "a.wav"}, "text", "no such field among audio"),
        ({"audio": "a.wav", "text": 3}, "text", "found 3"),
        ({"audio": "a.wav", "text": " "}, "text", "found ' '"),
        ({"audio": "a.wav", "text": "olá", "split": "holdout"}, "split", "'holdout'"),
        ({"audio": "a.wav", "text": "olá", "variety": 5}, "variety", "found 5"),
    ],
)
def test_a_bad_row_names_file_line_and_field(
    tmp_path: Path, row: dict[str, object], field: str, found: str
) -> None:
    path = _jsonl(tmp_path / "m.jsonl", [{"audio": "good.wav", "text": "bom"}, row])
    with pytest.raises(InputError) as error:
        read_speech_manifest(path)
    assert str(error.value).startswith(f"{path}:2: {field}: found ")
    assert found in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"audio": "a.wav", "text": "ol\xe1"}\n', "byte 30: found 0xe1, which is not UTF-8"),
        (b'{"audio": "a.wav",\n', ":1: column"),
        (b"[1]\n", ":1: found list"),
        (b"", "found no row with text"),
        (b'{"audio": "a.wav", "text": null}\n', "found no row with text"),
    ],
)
def test_a_broken_manifest_is_one_clear_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="m.jsonl") as error:
        read_speech_manifest(path)
    assert told in str(error.value)


def test_the_same_id_twice_is_refused(tmp_path: Path) -> None:
    rows = [{"audio": "a.wav", "text": "um", "id": "x"}, {"audio": "b.wav", "text": "dois", "id": "x"}]
    with pytest.raises(InputError, match=r"m.jsonl:2: id: found x, as in .*m.jsonl:1"):
        read_speech_manifest(_jsonl(tmp_path / "m.jsonl", rows))


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_speech_manifest(tmp_path / "none.jsonl")


def test_equal_texts_never_stand_on_both_sides(tmp_path: Path) -> None:
    rows = [
        {"audio": f"{i}.wav", "text": text} for i, text in enumerate(("Bom dia!", "bom dia", "BOM  DIA.") * 5)
    ]
    recordings, _ = read_speech_manifest(_jsonl(tmp_path / "m.jsonl", rows))
    assert len({r.split for r in recordings}) == 1


def test_the_shares_of_the_splits() -> None:
    splits = Counter(split_of(f"frase número {number}") for number in range(10_000))
    assert abs(splits["test"] / 10_000 - 0.10) < 0.01
    assert abs(splits["val"] / 10_000 - 0.05) < 0.01


def test_a_text_file_is_read_by_paragraph_or_by_line(tmp_path: Path) -> None:
    (tmp_path / "paragraphs.txt").write_bytes("\ufeffUm.\r\nDois.\r\n\r\n\r\nTrês.\r\n".encode())
    written, _ = read_text(tmp_path / "paragraphs.txt")
    assert [(w.text, w.where.rpartition(":")[2]) for w in written] == [("Um.\nDois.", "1"), ("Três.", "5")]
    (tmp_path / "lines.txt").write_text("Um.\nDois.\n", encoding="utf-8")
    written, _ = read_text(tmp_path / "lines.txt")
    assert [(w.text, w.where.rpartition(":")[2]) for w in written] == [("Um.", "1"), ("Dois.", "2")]


def test_jsonl_holds_documents_and_conversations(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Olá."}, {"role": "assistant", "content": "Bom dia."}]
    rows = [
        {"text": "Um documento.", "variety": "pt-PT"},
        {"messages": messages},
        {"instruction": "Resume.", "input": "Um texto.", "output": "Um resumo.", "variant": "pt-PT"},
        {"messages": messages[:1]},
        {"text": ""},
        {"text": None},
    ]
    written, notes = read_text(_jsonl(tmp_path / "t.jsonl", rows))
    assert [w.text for w in written] == ["Um documento.", "", ""]
    assert written[1].turns == (Turn("user", "Olá."), Turn("assistant", "Bom dia."))
    assert written[2].turns == (Turn("user", "Resume.\nUm texto."), Turn("assistant", "Um resumo."))
    assert [w.variety for w in written] == [Variety.PT_PT, Variety.UNKNOWN, Variety.PT_PT]
    assert notes == {"a conversation in which nobody answers": 1, "an empty text": 1, "no text (null)": 1}


SYSTEM = {"role": "system", "content": "Sê breve."}
ASK, ANSWER = {"role": "user", "content": "Olá."}, {"role": "assistant", "content": "Bom dia."}
CODE = {"role": "assistant", "content": "    return x\n"}


def test_the_conversations_of_sharegpt_are_read(tmp_path: Path) -> None:
    said = [
        ("system", "Sê breve."),
        ("human", "Olá."),
        ("gpt", "Bom dia."),
        ("user", "Adeus."),
        ("gpt", "Sim."),
    ]
    row = {"conversations": [{"from": who, "value": what, "weight": None} for who, what in said]}
    written, notes = read_text(_jsonl(tmp_path / "t.jsonl", [row]))
    roles = ("system", "user", "assistant", "user", "assistant")
    assert written[0].turns == tuple(Turn(role, what) for role, (_, what) in zip(roles, said, strict=True))
    assert not notes


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK, ANSWER]},
        {"messages": [SYSTEM, ASK, ANSWER]},
        {"instruction": "Olá.", "output": "Bom dia."},
    ],
)
def test_what_the_system_says_beside_the_turns_stands_before_them(
    tmp_path: Path, row: dict[str, object]
) -> None:
    """It was left out without a word."""
    written, _ = read_text(_jsonl(tmp_path / "t.jsonl", [{**row, "system": "Sê breve."}]))
    wanted = Turn("system", "Sê breve."), Turn("user", "Olá."), Turn("assistant", "Bom dia.")
    assert written[0].turns == wanted


def test_two_systems_are_one_too_many_and_the_turns_keep_their_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _jsonl(tmp_path / "t.jsonl", [{"messages": [SYSTEM, ASK, ANSWER], "system": "Sê longo."}])
    with pytest.raises(InputError, match="t.jsonl:1: system: found beside messages"):
        read_text(path)
    rows = [{"messages": [ASK, ASK, ANSWER], "system": "Sê breve."}, {"messages": [ASK, ANSWER]}]
    read_text(_jsonl(tmp_path / "u.jsonl", rows))
    assert "u.jsonl:1: messages[1].role: found two turns of the user in a row" in caplog.text


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([ASK, ASK, ANSWER], "messages[1].role: found two turns of the user in a row"),
        ([ASK, ANSWER, SYSTEM, ASK, ANSWER], "messages[2].role: found the system in turn 3"),
        ([ASK, {"role": "assistant", "content": " "}], "messages[1].content: found an empty turn"),
        ([SYSTEM, ASK], "messages: found no assistant turn"),
        ([], "messages: found no assistant turn"),
        ([ASK, {"role": "tool", "content": "4"}, ANSWER], "messages[1].role: found 'tool'; wanted one of"),
    ],
)
def test_a_conversation_that_cannot_be_learned_from_is_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, messages: list[dict[str, str]], told: str
) -> None:
    """Learned from all the same, they taught the model to answer nothing, or to speak for both sides."""
    path = _jsonl(tmp_path / "t.jsonl", [{"messages": [ASK, ANSWER]}, {"messages": messages}])
    written, notes = read_text(path)
    assert len(written) == 1
    assert sum(notes.values()) == 1
    assert f"left out: {path}:2: {told}" in caplog.text


@pytest.mark.parametrize(
    "row", [{"messages": [ASK, CODE]}, {"instruction": "Como?", "output": CODE["content"]}]
)
def test_what_is_said_is_kept_as_it_stands(tmp_path: Path, row: dict[str, object]) -> None:
    """Without the space around it, an answer in Python was another program."""
    written, _ = read_text(_jsonl(tmp_path / "t.jsonl", [row]))
    assert written[0].turns[-1].text == CODE["content"]


def test_a_conversation_with_a_tool_is_left_out_though_who_calls_it_says_nothing(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    messages = [ASK, call, {"role": "tool", "content": "4"}, ANSWER]
    written, notes = read_text(
        _jsonl(tmp_path / "t.jsonl", [{"messages": [ASK, ANSWER]}, {"messages": messages}])
    )
    assert len(written) == sum(notes.values()) == 1


def test_a_system_said_twice_with_other_space_is_one(tmp_path: Path) -> None:
    row = {"system": "Sê breve.\n", "messages": [{"role": "system", "content": "Sê breve. "}, ASK, ANSWER]}
    written, _ = read_text(_jsonl(tmp_path / "t.jsonl", [row]))
    assert [turn.role for turn in written[0].turns] == ["system", "user", "assistant"]


def test_a_file_of_nothing_else_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "t.jsonl", [{"messages": [ASK]}])
    with pytest.raises(InputError, match=r"no text in it \(a conversation in which nobody answers\)"):
        read_text(path)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"conversations": [{"role": "user", "content": "a"}]}, r"conversations\[0\]\.from: found None"),
        ({"conversations": [{"from": "gpt", "value": 3}]}, r"conversations\[0\]\.value: found 3"),
        (
            {"conversations": "olá"},
            r"conversations: found 'olá'; wanted a list, each an object with from and value",
        ),
        ({"messages": [{"role": ["user"], "content": "a"}]}, r"messages\[0\]\.role: found \['user'\]"),
    ],
)
def test_a_conversation_of_another_shape_is_an_error(
    tmp_path: Path, row: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError, match=rf"t\.jsonl:1: {told}"):
        read_text(_jsonl(tmp_path / "t.jsonl", [row]))


def test_tsv_has_a_header_with_text(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('id\ttext\n1\tDisse: "Não."\n2\t\n', encoding="utf-8")
    written, notes = read_text(tmp_path / "t.tsv")
    assert [w.text for w in written] == ['Disse: "Não."']
    assert notes == {"an empty text": 1}
    (tmp_path / "t.tsv").write_text("id\tfrase\n1\tSim.\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"t.tsv:1: text: found id, frase"):
        read_text(tmp_path / "t.tsv")


def test_a_folder_is_read_whole_and_other_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("Um.\n", encoding="utf-8")
    _jsonl(tmp_path / "sub" / "b.jsonl", [{"text": "Dois."}])
    (tmp_path / "LICENSE").write_text("licence")
    written, notes = read_text(tmp_path)
    assert [w.text for w in written] == ["Um.", "Dois."]
    assert sum(notes.values()) == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.txt", "ação".encode("latin-1"), "byte 1: found 0xe7"),
        ("t.txt", "\ufeffa".encode() + b"\xe7", "byte 4: found 0xe7"),
        ("t.txt", b"\n \n", "no text in it"),
        ("t.pdf", b"%PDF", "found .pdf"),
        ("t.jsonl", b'{"frase": "a"}\n', "t.jsonl:1: text: found no such field among frase"),
        (
            "t.jsonl",
            b'{"messages": [{"role": "robot", "content": "a"}]}\n',
            "no text in it (a conversation with somebody else than system, user and assistant)",
        ),
        (
            "t.jsonl",
            b'{"messages": [{"role": "user", "content": null}]}\n',
            "messages[0].content: found None",
        ),
        ("t.jsonl", b'{"instruction": "a"}\n', "output: found no such field"),
    ],
)
def test_bad_text_is_one_clear_line(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_text(tmp_path / name)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_text(tmp_path / "none")


def test_the_real_manifests_are_read(shared_data: Path) -> None:
    counts = {}
    for name in ("minderico_pt/manifest", "gcompris_ptPT/words", "fleurs/manifest", "gcompris_ptBR/words"):
        recordings, notes = read_speech_manifest(shared_data / "speech" / f"{name}.jsonl")
        assert all(recording.audio.is_file() for recording in recordings)
        counts[name] = (
            len(recordings),
            notes["no text (null)"],
            Counter(r.variety.value for r in recordings),
        )
    assert counts["minderico_pt/manifest"] == (984, 0, {"other": 984})
    assert counts["gcompris_ptPT/words"] == (178, 23, {"pt-PT": 178})
    assert counts["fleurs/manifest"] == (15, 0, {"other": 10, "pt-BR": 5})


def test_the_real_texts_are_read(shared_data: Path) -> None:
    text = shared_data / "text"
    numbers = {
        name: len(read_text(text / name)[0])
        for name in (
            "ha_intents/pt-PT_utterances.jsonl",
            "piper_prompts/pt-PT.jsonl",
            "bosque/bosque_pt-PT.tsv",
            "lusosupport",
            "eltec",
        )
    }
    assert list(numbers.values())[:4] == [351, 850, 4504, 264]
    assert numbers["eltec"] > 10_000


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('{"audio": "a\\u0000.wav", "text": "sim"}', "audio"),
        ('{"audio": "a.wav", "text": "\\ud800 sim"}', "text"),
        ('{"audio": "a.wav", "text": "sim", "speaker": "\\udc00"}', "speaker"),
    ],
)
def test_what_no_file_can_hold_is_named(tmp_path: Path, row: str, field: str) -> None:
    (tmp_path / "m.jsonl").write_text(row)
    with pytest.raises(InputError, match=rf"m\.jsonl:1: {field}: found .*wanted text that UTF-8 can hold"):
        read_speech_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize("row", ['{"id": ' + "9" * 5000 + "}", "[" * 100_000])
def test_json_that_python_cannot_read_is_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "m.jsonl").write_text(row)
    with pytest.raises(InputError, match=r"m\.jsonl:1: .*wanted a JSON object in one line"):
        read_speech_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize(("text", "num_notes"), [("Era uma vez.", 1), ("", 0), (None, 0)])
def test_text_beside_a_conversation_is_counted(tmp_path: Path, text: str | None, num_notes: int) -> None:
    """Tables leave it empty, and instruction sets repeat the whole conversation there."""
    turns = [{"role": "user", "content": "Olá"}, {"role": "assistant", "content": "Bom dia"}]
    rows = [
        {"text": text, "messages": turns},
        {"text": text, "instruction": "Soma", "input": "", "output": "3"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    written, notes = read_text(tmp_path / "t.jsonl")
    assert [len(one.turns) for one in written] == [2, 2]
    assert notes["text beside a conversation is not read"] == 2 * num_notes


def test_what_is_no_file_in_a_folder_is_counted(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Bom dia.")
    (tmp_path / ".#t.txt").symlink_to("nowhere")
    written, notes = read_text(tmp_path)
    assert [one.text for one in written] == ["Bom dia."]
    assert notes == {"not a file that can be read": 1}


def test_a_book_in_one_field_of_a_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("text\n" + "palavra " * 40_000, encoding="utf-8")
    assert len(read_text(tmp_path / "t.tsv")[0][0].text) > 300_000


def test_utf_16_is_told_from_latin_1(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Olá", encoding="utf-16")
    with pytest.raises(InputError, match="iconv -f UTF-16 -t UTF-8"):
        read_text(tmp_path / "t.txt")
