"""Each layout of a corpus, made small: every row is read, with split, speaker, variety and licence."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import (
    SAID,
    common_voice,
    fleurs,
    mls,
    tone_bytes,
    voxpopuli,
    write_jsonl,
    write_table,
    write_tone,
)

from amalia_mm.errors import InputError
from amalia_mm.prepare.corpus_shards import FORMATS
from amalia_mm.prepare.readers.row import CorpusRow, Embedded, Reading
from amalia_mm.variety import Variety


def read(layout: str, path: Path, reading: Reading | None = None) -> list[CorpusRow]:
    rows = list(FORMATS[layout](path, reading or Reading()))
    for row in rows:
        assert row.fault is None
        assert isinstance(row.audio, Embedded) or (row.audio is not None and row.audio.is_file()), row.audio
    return rows


def test_common_voice(tmp_path: Path) -> None:
    reading = Reading()
    rows = read("common-voice", common_voice(tmp_path), reading)
    assert [(row.split, row.variety) for row in rows] == [
        ("train", Variety.PT_PT),
        ("train", Variety.UNKNOWN),
        ("train", Variety.PT_BR),
        ("val", Variety.UNKNOWN),  # two varieties in one accent
        ("test", Variety.OTHER),
    ]
    assert [row.text for row in rows] == list(SAID[:5])
    assert rows[1].speaker == "speaker1" and rows[1].id == "common_voice_pt_1"
    assert {row.licence for row in rows} == {"CC0-1.0"} and {row.promised_s for row in rows} == {2.0}
    assert reading.notes == {"accent 'Paulista, vive em Lisboa' names several varieties: unknown": 1}


def test_all_that_was_validated_but_nobody_who_is_tested_on(tmp_path: Path) -> None:
    """Its train.tsv leaves most clips out; of validated.tsv those who speak in dev and test must stay out."""
    folder = common_voice(tmp_path)
    table = folder / "pt" / "validated.tsv"
    table.write_text(table.read_text("utf-8").replace("speaker2\t", "speaker4\t"), "utf-8")
    reading = Reading(validated=True)
    rows = read("common-voice", folder / "pt", reading)
    assert [(row.split, row.speaker) for row in rows] == [
        ("test", "speaker4"),
        ("val", "speaker3"),
        ("train", "speaker0"),
        ("train", "speaker1"),
        ("train", "speaker0"),
    ]
    assert rows[-1].variety is Variety.PT_PT  # by its variant, where the accent says nothing
    assert reading.notes["validated clips of speakers of dev or test, left out"] == 1


def test_voxpopuli(tmp_path: Path) -> None:
    reading = Reading()
    rows = read("voxpopuli", voxpopuli(tmp_path), reading)
    assert [(row.split, row.text, row.speaker) for row in rows] == [
        ("train", SAID[0], "124702"),
        ("val", "está frio hoje de manhã", "124702"),
        ("test", SAID[3], ""),
    ]
    assert {row.variety for row in rows} == {Variety.UNKNOWN} and {row.licence for row in rows} == {"CC0-1.0"}
    assert reading.notes == {"normalised text in place of the original, which is empty": 1}


def test_mls(tmp_path: Path) -> None:
    rows = read("mls", mls(tmp_path))
    assert [(row.split, row.speaker, row.fields["book"]) for row in rows] == [
        *(("train", "123", "456"), ("train", "123", "456"), ("train", "77", "88")),
        *(("val", "9", "10"), ("test", "5", "6")),
    ]
    assert [row.text for row in rows] == [text.lower() for text in SAID[:5]]
    assert rows[0].fields["gender"] == "F" and rows[2].fields["gender"] == ""
    assert rows[3].audio.suffix == ".opus" and {row.promised_s for row in rows} == {2.0}
    assert {row.variety for row in rows} == {Variety.UNKNOWN} and {row.licence for row in rows} == {
        "CC-BY-4.0"
    }


def test_fleurs_is_brazilian(tmp_path: Path) -> None:
    rows = read("fleurs", fleurs(tmp_path))
    assert [row.split for row in rows] == ["train", "train", "val", "test"]
    assert rows[0].text == f'Diz-se "{SAID[0]}' and rows[1].text == SAID[1]
    assert {row.variety for row in rows} == {Variety.PT_BR} and {row.promised_s for row in rows} == {2.0}
    assert rows[0].id == "1000" and rows[0].fields["gender"] == "FEMALE"


def test_another_language_of_fleurs_is_other_and_an_unnamed_folder_unknown(tmp_path: Path) -> None:
    folder = fleurs(tmp_path, "gl_es")
    assert {row.variety for row in read("fleurs", folder / "gl_es")} == {Variety.OTHER}
    (folder / "gl_es").rename(folder / "fleurs")
    reading = Reading()
    assert {row.variety for row in read("fleurs", folder / "fleurs", reading)} == {Variety.UNKNOWN}
    assert reading.notes == {"a folder that is not named by its locale: variety unknown": 1}


def test_tagarela_is_a_manifest_with_accents(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.flac", 300)
    rows = [
        {"path": "a.flac", "sentence": SAID[number], "accent": accent}
        for number, accent in enumerate(["pt-PT", "pt-BR", ""])
    ]
    read_rows = read("tagarela", write_jsonl(tmp_path / "train.jsonl", rows))
    assert [row.variety for row in read_rows] == [Variety.PT_PT, Variety.PT_BR, Variety.UNKNOWN]
    assert {row.licence for row in read_rows} == {"CC-BY-NC-SA-4.0"} and [
        row.text for row in read_rows
    ] == list(SAID[:3])


@pytest.mark.parametrize("layout", ["falar", "camoes"])
def test_parliament_and_benchmark_are_european_unless_a_row_says_otherwise(
    tmp_path: Path, layout: str
) -> None:
    write_tone(tmp_path / "a.flac", 300)
    row = {"audio_filepath": "a.flac", "text": SAID[0], "duration": 2.0, "speaker_id": 17}
    rows = read(layout, write_jsonl(tmp_path / "m.jsonl", [row, row | {"variety": "pt-BR"}]))
    assert [row.variety for row in rows] == [Variety.PT_PT, Variety.PT_BR]
    assert rows[0].speaker == "17" and rows[0].promised_s == 2.0


def test_a_csv_with_names_of_its_own(tmp_path: Path) -> None:
    """A quoted comma is part of the text, as CSV has it; names that nobody could guess are given."""
    write_tone(tmp_path / "sons/a.wav", 300)
    table = tmp_path / "m.csv"
    table.write_text('som,dito,quem,parte\nsons/a.wav,"Sim, senhora.",Ana,dev\n', "utf-8")
    with pytest.raises(InputError, match="--field audio=NAME"):
        read("manifest", table)
    fields = {"audio": "som", "text": "dito", "speaker": "quem", "split": "parte"}
    (row,) = read("manifest", table, Reading(fields))
    assert (row.text, row.speaker, row.split, row.id) == ("Sim, senhora.", "Ana", "val", "sons/a")


def test_what_a_row_lacks_is_told_of_that_row_alone(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "m.tsv", [("audio", "text", "split"), ("a.wav", "olá", "extra"), ("b.wav",), ("", "x", "")]
    )
    rows = list(FORMATS["manifest"](table, Reading()))
    assert [row.fault and row.fault.reason for row in rows] == ["split", "columns", None]
    assert rows[2].audio is None and rows[0].where == f"{table}:2"


def test_a_first_row_without_a_transcript_is_no_manifest_without_transcripts(tmp_path: Path) -> None:
    rows = [{"audio": "a.wav", "text": None}, {"audio": "b.wav", "text": "olá"}]
    found = list(FORMATS["manifest"](write_jsonl(tmp_path / "m.jsonl", rows), Reading()))
    assert [row.text for row in found] == [None, "olá"]


@pytest.mark.parametrize(
    ("layout", "wanted"), [("common-voice", r"\.tsv"), ("mls", "transcripts.txt"), ("fleurs", r"\.tsv")]
)
def test_another_folder_is_refused_by_name(tmp_path: Path, layout: str, wanted: str) -> None:
    with pytest.raises(InputError, match=wanted) as error:
        list(FORMATS[layout](tmp_path, Reading()))
    assert str(tmp_path) in str(error.value)


def test_a_table_without_the_columns_names_them(tmp_path: Path) -> None:
    folder = common_voice(tmp_path)
    write_table(folder / "pt" / "train.tsv", [("client_id", "path", "text"), ("a", "b", "c")])
    with pytest.raises(InputError, match="sentence.*found client_id, path, text"):
        list(FORMATS["common-voice"](folder, Reading()))


def test_a_dataset_saved_to_disk(tmp_path: Path) -> None:
    """The layout of `datasets.DatasetDict.save_to_disk`: a stream of Arrow, audio as bytes and path."""
    pa = pytest.importorskip("pyarrow")
    write_json = lambda path, text: (path.parent.mkdir(exist_ok=True), path.write_text(text, "utf-8"))  # noqa: E731
    write_json(tmp_path / "dataset_dict.json", '{"splits": ["train", "validation"]}')
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for part, first in (("train", 0), ("validation", 3)):
        write_json(
            tmp_path / part / "state.json",
            '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "a"}',
        )
        audio = [{"bytes": tone_bytes(300 + n), "path": f"clip{n}.flac"} for n in range(first, first + 3)]
        table = pa.table(
            {
                "audio": pa.array(audio, kind),
                "sentence": list(SAID[first : first + 3]),
                "accent": ["pt-PT", "Lisboa", None],
                "speaker_id": [1, 2, 3],
            }
        )
        with pa.ipc.new_stream(str(tmp_path / part / "data-00000-of-00001.arrow"), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    rows = read("hf-dataset", tmp_path)
    assert [row.split for row in rows] == ["train"] * 3 + ["val"] * 3
    assert [row.text for row in rows] == list(SAID)
    assert [row.variety for row in rows[:3]] == [Variety.PT_PT, Variety.PT_PT, Variety.UNKNOWN]
    assert rows[4].id == "clip4" and rows[4].speaker == "2"
    from amalia_mm.prepare.readers.hf_dataset import embedded_audio

    assert [embedded_audio(row.audio) for row in rows] == [tone_bytes(300 + n) for n in range(6)]


def test_a_snapshot_of_the_hub_in_parquet_with_audio_by_path(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for number in range(2):
        write_tone(tmp_path / "data" / f"{number}.wav", 300 + number)
    audio = pa.array(
        [{"bytes": None, "path": f"{n}.wav"} for n in range(2)],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    parquet.write_table(
        pa.table({"audio": audio, "text": list(SAID[:2])}), tmp_path / "data" / "test-00000-of-00001.parquet"
    )
    rows = read("hf-dataset", tmp_path)
    assert [(row.split, row.id, row.audio) for row in rows] == [
        ("test", str(n), tmp_path / "data" / f"{n}.wav") for n in range(2)
    ]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="state.json"):
        read("hf-dataset", tmp_path)
