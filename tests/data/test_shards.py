"""Shards: what is written is read again, by us and by webdataset; what is damaged is named."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from webdataset.compat import WebDataset
from webdataset.writer import TarWriter

from amalia_mm.audio.io import load_audio
from amalia_mm.data import shards
from amalia_mm.data.index import INDEX_NAME, ShardIndex, read_record
from amalia_mm.data.shards import ShardWriter, index_folder, stats, verify
from amalia_mm.errors import InputError

Fields = Callable[..., dict[str, object]]
Clip = Callable[[int], bytes]


@pytest.fixture
def copied(speech: Path, tmp_path: Path) -> Path:
    """A folder of shards to damage."""
    return Path(shutil.copytree(speech, tmp_path / "copied"))


def test_a_record_and_its_clip_come_back(tmp_path: Path, fields: Fields, clip: Clip) -> None:
    with ShardWriter(tmp_path, max_records=2) as writer:
        for number in range(5):
            writer.write(fields(id=f"r{number}", task="transcribe"), clip(1_000 + number))
        writer.write(fields(id="text", source="books"))
    index = ShardIndex.load(tmp_path)
    assert [shard.num_records for shard in index.shards] == [2, 2, 2]
    assert index.strings["id"] == ["r0", "r1", "r2", "r3", "r4", "text"]
    assert index.num_samples.tolist() == [1_000, 1_001, 1_002, 1_003, 1_004, 0]
    for number in (4, 0, 3):
        record, audio = read_record(index, number)
        assert record.id == f"r{number}"
        assert audio == clip(1_000 + number)
    assert read_record(index, 5)[1] is None
    assert read_record(index, 0, with_audio=False)[1] is None
    assert index.where(3) == f"{tmp_path}/shard-000001.tar: record 00000003"


def test_a_clip_whose_length_is_known_is_not_decoded(
    tmp_path: Path, fields: Fields, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "load_audio", pytest.fail)
    with ShardWriter(tmp_path) as writer:
        writer.write(fields(task="transcribe"), clip(1_000), num_samples=1_000)
    assert ShardIndex.load(tmp_path).num_samples.tolist() == [1_000]


def test_webdataset_reads_our_tars_in_sequence(speech: Path) -> None:
    index = ShardIndex.load(speech)
    urls = [str(speech / shard.name) for shard in index.shards]
    samples = list(WebDataset(urls, shardshuffle=False))
    assert len(samples) == len(index)
    for number, sample in enumerate(samples):
        record, audio = read_record(index, number)
        assert json.loads(sample["json"])["id"] == record.id
        assert sample["flac"] == audio
        assert sample["__key__"] == index.strings["key"][number]


def test_we_index_tars_that_webdataset_wrote(tmp_path: Path, fields: Fields, clip: Clip) -> None:
    with TarWriter(str(tmp_path / "foreign.tar")) as writer:
        writer.write(
            {"__key__": "deep/er/key-1", "json": fields(id="x", task="transcribe"), "flac": clip(900)}
        )
        writer.write({"__key__": "plain", "json": fields(id="y"), "note.txt": "left alone"})
    index = index_folder(tmp_path)
    assert index.strings["id"] == ["x", "y"]
    assert index.num_samples.tolist() == [900, 0]
    assert read_record(index, 0)[1] == clip(900)
    assert verify(tmp_path).bad == ()


def test_the_same_records_give_the_same_bytes(tmp_path: Path, fields: Fields, clip: Clip) -> None:
    for name in ("a", "b"):
        with ShardWriter(tmp_path / name) as writer:
            writer.write(fields(task="transcribe"), clip(1_000))
    assert (tmp_path / "a" / INDEX_NAME).read_bytes() == (tmp_path / "b" / INDEX_NAME).read_bytes()


def test_stats_count_what_was_written(speech: Path, documents: Path) -> None:
    told, index = stats(speech), ShardIndex.load(speech)
    assert (told.num_records, told.num_shards, told.num_speakers) == (60, 3, 3)
    assert told.audio_s == pytest.approx(index.num_samples.sum() / 16_000)
    assert told.source_seconds == {"test": pytest.approx(told.audio_s)}
    assert stats(documents).sources == {"books": 120}
    assert stats(documents).audio_s == 0
    assert told.tasks == {"transcribe": 60} and told.varieties == {"pt-PT": 60}


def test_real_recordings_become_shards(tmp_path: Path, fields: Fields, shared_data: Path) -> None:
    paths = sorted(
        p for p in (shared_data / "speech").rglob("*") if p.suffix in (".wav", ".flac", ".ogg", ".mp3")
    )
    chosen = list({path.suffix: path for path in paths}.values())
    with ShardWriter(tmp_path) as writer:
        for path in chosen:
            record = fields(id=path.stem, text="", task="transcribe")
            writer.write(record, path.read_bytes(), path.suffix[1:])
    assert verify(tmp_path).bad == ()
    index = ShardIndex.load(tmp_path)
    for number, path in enumerate(chosen):
        assert index.num_samples[number] == len(load_audio(path))


def test_a_bad_record_or_clip_is_refused_when_written(tmp_path: Path, fields: Fields, clip: Clip) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.write(fields(id="a"))
        with pytest.raises(InputError, match=r"record a: id: found the same id twice"):
            writer.write(fields(id="a"))
        with pytest.raises(InputError, match="record 1: licence: found no such field"):
            writer.write(fields(id="b", licence=None))
        with pytest.raises(InputError, match="record c"):
            writer.write(fields(id="c", task="transcribe"), clip(1_000)[:60])
        with pytest.raises(ValueError, match="suffix 'aac'"):
            writer.write(fields(id="d", task="transcribe"), clip(1_000), "aac")
    assert ShardIndex.load(tmp_path).strings["id"] == ["a"]


def test_a_clip_of_hours_is_refused(tmp_path: Path, fields: Fields, clip: Clip) -> None:
    with ShardWriter(tmp_path, max_seconds=1.0) as writer:
        writer.write(fields(id="short", task="transcribe"), clip(16_000))
        with pytest.raises(InputError, match="record long"):
            writer.write(fields(id="long", task="transcribe"), clip(16_800))


def test_an_interrupted_writer_leaves_nothing_and_can_start_again(tmp_path: Path, fields: Fields) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path, max_records=1) as writer:
            writer.write(fields(id="a"))
            writer.write(fields(id="b"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "shard-000007.tar").write_bytes(b"left by kill -9")
    with ShardWriter(tmp_path) as writer:
        writer.write(fields(id="a"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [INDEX_NAME, "shard-000000.tar"]
    with pytest.raises(InputError, match="found shards; wanted a new or empty folder"):
        ShardWriter(tmp_path)


def test_a_full_disk_is_one_clear_error(
    tmp_path: Path, fields: Fields, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "save_index", full)
    writer = ShardWriter(tmp_path)
    writer.write(fields())
    with pytest.raises(InputError, match="found No space left on device; wanted a folder with room"), writer:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_shard_cut_in_half_is_named_before_anything_is_read(copied: Path) -> None:
    path = copied / "shard-000001.tar"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    with pytest.raises(InputError) as error:
        ShardIndex.load(copied)
    assert str(path) in str(error.value)
    assert f"found {size // 2} bytes; wanted {size} bytes" in str(error.value)
    # Without an index the cut is found from the tar itself.
    (copied / INDEX_NAME).unlink()
    with pytest.raises(InputError, match=r"shard-000001\.tar: found .*; wanted a whole tar"):
        index_folder(copied)


def test_a_tar_cut_between_two_records_is_found(tmp_path: Path, documents: Path) -> None:
    offset = int(ShardIndex.load(documents).integers["json_offset"][10]) - 512
    content = (documents / "shard-000000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(content[:offset])
    with pytest.raises(InputError, match=f"the end of the file, and not of the archive, at byte {offset}"):
        index_folder(tmp_path)


def test_a_damaged_header_in_the_middle_loses_no_record_in_silence(tmp_path: Path, documents: Path) -> None:
    offset = int(ShardIndex.load(documents).integers["json_offset"][10]) - 512
    content = bytearray((documents / "shard-000000.tar").read_bytes())
    content[offset] ^= 1
    (tmp_path / "damaged.tar").write_bytes(content)
    with pytest.raises(InputError, match=f"damage at byte {offset}"):
        index_folder(tmp_path)


def test_a_changed_byte_is_found_by_verify(copied: Path) -> None:
    path = copied / "shard-000002.tar"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"shard-000002\.tar: sha256: found [0-9a-f]{64}; wanted [0-9a-f]{64}"
    ):
        verify(copied)


def test_a_missing_shard_index_or_folder_is_named(copied: Path) -> None:
    (copied / "shard-000000.tar").unlink()
    with pytest.raises(InputError, match=r"shard-000000\.tar: size: found no such file"):
        ShardIndex.load(copied)
    (copied / INDEX_NAME).unlink()
    with pytest.raises(InputError, match=r"index\.json: found no index; .*amalia shards index"):
        ShardIndex.load(copied)
    with pytest.raises(InputError, match="nowhere/index.json: found no index"):
        ShardIndex.load("nowhere")
    with pytest.raises(InputError, match="found no tar"):
        index_folder("nowhere")
    with pytest.raises(InputError, match="found a remote address; wanted a local folder; copy"):
        ShardIndex.load("s3://bucket/shards")


@pytest.mark.parametrize("content", ["{", "[]", '{"version":1}', '{"version":1,"shards":[{"name":"x"}]}'])
def test_a_damaged_index_is_named(copied: Path, content: str) -> None:
    (copied / INDEX_NAME).write_text(content)
    with pytest.raises(InputError, match=r"index\.json: found .*; wanted an index as"):
        ShardIndex.load(copied)


def test_an_index_of_another_version_is_named(copied: Path) -> None:
    (copied / INDEX_NAME).write_text('{"version":9,"shards":[]}')
    with pytest.raises(InputError, match=r"index\.json: version: found 9; wanted 1"):
        ShardIndex.load(copied)


def test_a_record_without_json_or_field_is_named(tmp_path: Path, fields: Fields, clip: Clip) -> None:
    def foreign(name: str, sample: dict[str, object]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        with TarWriter(str(folder / "foreign.tar")) as writer:
            writer.write({"__key__": "0001", **sample})
        return folder

    with pytest.raises(InputError, match=r"foreign\.tar: record 0001: json: found flac; wanted a \.json"):
        index_folder(foreign("member", {"flac": clip(900)}))
    with pytest.raises(InputError, match=r"foreign\.tar: record 0001: speaker: found no such field"):
        index_folder(foreign("field", {"json": fields(speaker=None)}))
    with pytest.raises(InputError, match=r"foreign\.tar: record 0001: json: found .*; wanted a JSON object"):
        index_folder(foreign("syntax", {"json": b"{"}))


def test_verify_lists_every_bad_record(copied: Path) -> None:
    """A clip that cannot be decoded, in a tar whose sum was taken after the damage."""
    index = ShardIndex.load(copied)
    path = copied / "shard-000000.tar"
    content = bytearray(path.read_bytes())
    for number in (2, 5):
        offset = int(index.integers["audio_offset"][number])
        content[offset : offset + 64] = bytes(64)
    path.write_bytes(content)
    plan = json.loads((copied / INDEX_NAME).read_text())
    plan["shards"][0]["sha256"] = shards.sha256(path)
    (copied / INDEX_NAME).write_text(json.dumps(plan))
    told = verify(copied)
    assert [error.where for error in told.bad] == [index.where(2), index.where(5)]
    assert told.num_records == 60


def test_audio_of_ten_milliseconds_keeps_its_length(tmp_path: Path, fields: Fields, clip: Clip) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.write(fields(task="transcribe"), clip(160))
    _, audio = read_record(ShardIndex.load(tmp_path), 0)
    assert audio is not None
    assert len(load_audio(audio)) == 160
