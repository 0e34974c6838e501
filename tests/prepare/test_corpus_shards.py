"""A corpus becomes shards: all of it or a reason for each, the same bytes however often it was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
from corpora import SAID, common_voice, tone, write_jsonl, write_tone
from sound import said, stereo

from amalia_mm.audio.io import load_audio
from amalia_mm.cli import main
from amalia_mm.commands.preparation import SPEECH_FORMATS
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.errors import InputError
from amalia_mm.prepare import decoded
from amalia_mm.prepare.choice import parse_choices
from amalia_mm.prepare.corpus_plan import Wishes
from amalia_mm.prepare.corpus_shards import FORMATS, summary_lines, write_corpus
from amalia_mm.variety import Variety


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def quarantined(folder: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text("utf-8").splitlines()]
    return {row["id"]: row["reason"] for row in rows}


def manifest(folder: Path, count: int, **changes: object) -> Path:
    """`count` clips of two seconds, every tenth of the test."""
    rows = []
    for number in range(count):
        write_tone(folder / f"{number}.wav", 200 + 5 * number, 1.5 + number / 100)
        split = "test" if number % 10 == 3 else "train"
        rows.append({"audio": f"{number}.wav", "text": SAID[number % len(SAID)], "split": split, **changes})
    return write_jsonl(folder / "m.jsonl", rows)


def test_the_command_line_offers_every_format() -> None:
    assert set(SPEECH_FORMATS) == set(FORMATS)


def test_common_voice_as_shards(tmp_path: Path) -> None:
    """From the release to records: sound, text, speaker, variety, licence and split are where they belong."""
    corpus = common_voice(tmp_path / "cv")
    summary = write_corpus(corpus, tmp_path / "out", layout="common-voice", progress=False)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "quarantine.jsonl",
        "summary.json",
        "test",
        "train",
        "val",
    ]
    index = ShardIndex.load(tmp_path / "out" / "train")
    records = [read_record(index, number) for number in range(len(index))]
    assert [(record.id, record.text, record.speaker, record.variety) for record, _ in records] == [
        ("common_voice_pt_0", SAID[0], "speaker0", Variety.PT_PT),
        ("common_voice_pt_1", SAID[1], "speaker1", Variety.UNKNOWN),
        ("common_voice_pt_2", SAID[2], "speaker2", Variety.PT_BR),
    ]
    record, flac = records[0]
    assert (record.licence, record.split, record.source, record.task) == (
        "CC0-1.0",
        "train",
        "speech:common-voice",
        "transcribe",
    )
    original = load_audio(corpus / "pt" / "clips" / "common_voice_pt_0.mp3")
    assert flac is not None and abs(load_audio(flac) - original).max() <= 1 / 32767
    assert index.num_samples[0] == len(original) and record.seconds == pytest.approx(
        len(original) / 16_000, abs=1e-3
    )
    assert (
        summary["clips"] == 5
        and json.loads((tmp_path / "out" / "summary.json").read_text("utf-8")) == summary
    )
    assert sum(cell["clips"] for cell in summary["by_split_and_variety"]) == 5
    assert any(line.split("\t")[:3] == ["train", "pt-PT", "1"] for line in summary_lines(summary))


def test_another_reader_of_tars_reads_them(tmp_path: Path) -> None:
    write_corpus(manifest(tmp_path / "m", 4), tmp_path / "out", layout="manifest", progress=False)
    tars = sorted(map(str, (tmp_path / "out" / "train").glob("*.tar")))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    assert [json.loads(sample["json"])["id"] for sample in samples] == ["0", "1", "2"]


def test_every_clip_that_is_not_learned_from_has_a_reason(tmp_path: Path) -> None:
    source = tmp_path / "m"
    rows = [
        {"audio": f"{name}.wav", "text": SAID[0], "id": name}
        for name in ("good", "short", "silent", "gone", "damaged", "lies")
    ]
    for number, row in enumerate(rows):
        write_tone(source / row["audio"], 200 + 10 * number)
    write_tone(source / "short.wav", 300, 0.05)
    soundfile.write(source / "silent.wav", np.zeros(32_000), 16_000)
    (source / "gone.wav").unlink()
    (source / "damaged.wav").write_bytes((source / "damaged.wav").read_bytes()[:20_000])
    # Recorded at 16 kHz, and the header says 8: it plays at half the speed, for twice as long.
    soundfile.write(source / "lies.wav", tone(2.0, 400), 8_000)
    rows[5]["duration"] = 2.0
    write_tone(source / "long.wav", 700)
    rows += [
        {"audio": "good.wav", "text": "", "id": "empty"},
        {"audio": "good.wav", "text": "Доброго ранку, пані Ганно", "id": "cyrillic"},
        {"audio": "long.wav", "text": SAID[0] * 100, "id": "hundredfold"},
        {"audio": "good.wav", "text": SAID[0], "id": "twin"},
    ]
    out = tmp_path / "out"
    summary = write_corpus(write_jsonl(source / "m.jsonl", rows), out, layout="manifest", progress=False)
    assert quarantined(out) == {
        "short": "duration",
        "silent": "silent",
        "gone": "audio",
        "damaged": "audio",
        "lies": "sample_rate",
        "empty": "empty_text",
        "cyrillic": "another_script",
        "hundredfold": "characters_per_second",
        "twin": "duplicate",
    }
    assert summary["clips"] + sum(summary["quarantined"].values()) == len(rows)


def test_a_sound_in_training_and_test_is_refused_in_training(tmp_path: Path) -> None:
    """Under another name, in another lossless container and at another volume unit it is the same sound."""
    source = tmp_path / "m"
    for name in ("a.wav", "b.flac"):
        write_tone(source / name, 300)
    write_tone(source / "c.wav", 310)
    rows = [
        {"audio": "a.wav", "text": SAID[0], "split": "train"},
        {"audio": "b.flac", "text": SAID[0], "split": "test"},
        {"audio": "c.wav", "text": SAID[0], "split": "train"},
    ]
    summary = write_corpus(
        write_jsonl(source / "m.jsonl", rows), tmp_path / "out", layout="manifest", progress=False
    )
    assert quarantined(tmp_path / "out") == {"a": "duplicate_across_splits"}
    assert summary["sentences_in_training_and_test"] == 1 and summary["clips"] == 2


def test_any_number_of_processes_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "CHUNK_ROWS", 5)
    corpus = manifest(tmp_path / "m", 17)
    write_corpus(corpus, tmp_path / "one", layout="manifest", progress=False)
    write_corpus(corpus, tmp_path / "two", layout="manifest", num_processes=2, progress=False)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")


@pytest.mark.parametrize("stops", ["while it decodes", "while it writes"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: str
) -> None:
    monkeypatch.setattr(decoded, "CHUNK_ROWS", 4)
    corpus = manifest(tmp_path / "m", 14)
    write_corpus(corpus, tmp_path / "whole", layout="manifest", progress=False)
    decodings: list[str] = []
    decode, write = decoded.encode_flac, decoded.Decoded.flac

    def encode(waveform, *rest):
        if stops == "while it decodes" and len(decodings) == 9:
            raise KeyboardInterrupt
        decodings.append("one")
        return decode(waveform, *rest)

    def flac(clip):
        if clip.row.id == "7":
            raise KeyboardInterrupt
        return write(clip)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(decoded, "encode_flac", encode)
        if stops == "while it writes":
            patch.setattr(decoded.Decoded, "flac", flac)
        with pytest.raises(KeyboardInterrupt):
            write_corpus(corpus, out, layout="manifest", progress=False)
    assert not (out / "summary.json").exists()
    again: list[str] = []
    monkeypatch.setattr(decoded, "encode_flac", lambda *a: (again.append("one"), decode(*a))[1])
    write_corpus(corpus, out, layout="manifest", progress=False)
    assert len(again) == (6 if stops == "while it decodes" else 0)  # two whole chunks of four were kept
    assert files_below(out) == files_below(tmp_path / "whole")


def test_a_clip_that_changed_meanwhile_is_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = manifest(tmp_path / "m", 3)
    with monkeypatch.context() as patch:
        patch.setattr(decoded.Decoded, "flac", lambda clip: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_corpus(corpus, tmp_path / "out", layout="manifest", progress=False)
    write_tone(tmp_path / "m" / "1.wav", 900, 2.5)
    write_corpus(corpus, tmp_path / "out", layout="manifest", progress=False)
    assert list(ShardIndex.load(tmp_path / "out" / "train").num_samples) == [24_000, 40_000, 24_320]


def test_a_killed_command_leaves_no_process_and_can_be_run_again(tmp_path: Path) -> None:
    """SIGKILL of the parent once left workers behind that waited for ever."""
    corpus = manifest(tmp_path / "m", 400)
    command = [
        sys.executable,
        "-m",
        "amalia_mm.cli",
        "prepare",
        "corpus",
        str(corpus),
        "--format",
        "manifest",
    ]
    command += ["--output", str(tmp_path / "out"), "--processes", "2"]
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while child.poll() is None and not list((tmp_path / "out").glob(".work/*.jsonl")):
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL, "it ended before it was killed"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _alive(child.pid):
        time.sleep(0.1)
    assert not _alive(child.pid)
    # Tones that are no voices: some are as fast and as high beside the others as if their header lied.
    wishes = Wishes(keep_odd_rates=True)
    summary = write_corpus(corpus, tmp_path / "out", layout="manifest", wishes=wishes, progress=False)
    assert summary["clips"] == 400 and not (tmp_path / "out" / ".work").exists()


def _alive(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_corpus_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    corpus = manifest(tmp_path / "m", 3)
    write_corpus(corpus, tmp_path / "out", layout="manifest", progress=False)
    with pytest.raises(InputError, match="a corpus that is whole"):
        write_corpus(corpus, tmp_path / "out", layout="manifest", progress=False)


def test_a_corpus_of_which_nothing_can_be_used_says_why(tmp_path: Path) -> None:
    rows = [{"audio": f"{n}.wav", "text": SAID[n]} for n in range(3)]
    corpus = write_jsonl(tmp_path / "m.jsonl", rows)
    with pytest.raises(InputError, match=r"3 audio.*m.jsonl:1: No such file"):
        write_corpus(corpus, tmp_path / "out", layout="manifest", progress=False)
    with pytest.raises(InputError, match="no row"):
        write_corpus(
            corpus,
            tmp_path / "out2",
            layout="manifest",
            wishes=Wishes(choices=parse_choices(["text=x"])),
            progress=False,
        )


def test_minderico_split_by_lesson(shared_data: Path, tmp_path: Path) -> None:
    """Real recordings: what has several forms or an odd length is left out, and no lesson stands in two splits."""
    source = shared_data / "speech" / "minderico_pt" / "manifest.jsonl"
    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    few = [row for row in rows if row["lesson"] in sorted({row["lesson"] for row in rows})[:8]]
    lines = [row | {"audio": str(source.parent / row["audio"])} for row in few]
    corpus = write_jsonl(tmp_path / "m.jsonl", lines)
    choices = parse_choices(["several_forms=false", "duration_consistent=true"])
    wishes = Wishes(choices=choices, split_by="lesson", licence="GPL-3.0", test_share=0.2)
    summary = write_corpus(corpus, tmp_path / "out", layout="manifest", wishes=wishes, progress=False)
    wanted = [row for row in few if not row["several_forms"] and row["duration_consistent"]]
    assert summary["clips"] + sum(summary["quarantined"].values()) == len(wanted)
    lesson_of = {str(Path(row["audio"]).with_suffix("")): row["lesson"] for row in lines}
    splits: Counter[tuple[str, str]] = Counter()
    for split in ("train", "val", "test"):
        index = ShardIndex.load(tmp_path / "out" / split)
        splits.update((lesson_of[name], split) for name in index.strings["id"])
    assert len({lesson for lesson, _ in splits}) == len(splits) >= 3


def test_the_command_prints_its_counts_and_refuses_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = str(manifest(tmp_path / "m", 10, wort="x", lesson="um"))
    command = ["prepare", "corpus", corpus, "--format", "manifest", "--processes", "1", "--output"]
    told = {
        ("--field", "word=wort"): "--field: found word=wort",
        ("--where", "lesson"): "--where: found lesson",
        ("--variety", "pt-XX"): "--variety: variety: found 'pt-XX'",
        ("--min-s", "40"): "min_s, max_s: found 40 to 30",
        ("--processes", "0"): "--processes: found 0",
        ("--split-by", "lesson"): "--split-by lesson: found 1 groups",
    }
    for options, message in told.items():
        assert main([*command, str(tmp_path / "out"), *options]) == 2
        assert message in capsys.readouterr().err
    options = ["--variety", "pt-PT", "--licence", "CC0-1.0", "--max-s", "1.55", "--name", "tons"]
    assert main([*command, str(tmp_path / "out"), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "split\tvariety\tclips\thours"
    assert [line.split("\t")[:3] for line in lines[1:3]] == [["test", "pt-PT", "1"], ["train", "pt-PT", "5"]]
    assert "quarantined\tduration\t4" in lines
    record, _ = read_record(ShardIndex.load(tmp_path / "out" / "train"), 0)
    assert (record.source, record.licence, record.variety) == ("speech:tons", "CC0-1.0", Variety.PT_PT)


def test_two_speakers_in_two_channels_are_quarantined_or_one_is_chosen(tmp_path: Path) -> None:
    """A mix of two who talk at once is nobody's words."""
    one, other = voices = said("Preciso de ajuda para me levantar.", "O autocarro parte às oito e meia.")
    stereo(tmp_path / "two.wav", *voices)
    stereo(tmp_path / "cancelling.wav", 0.5 * one, -0.5 * one)
    stereo(tmp_path / "scene.wav", other, 0.5 * other)
    names = ("two", "cancelling", "scene")
    rows = [
        {"audio": f"{name}.wav", "text": SAID[number], "split": "train"} for number, name in enumerate(names)
    ]
    path = write_jsonl(tmp_path / "m.jsonl", rows)
    options = ["prepare", "corpus", str(path), "--format", "manifest", "--processes", "1", "--output"]
    assert main([*options, str(tmp_path / "out")]) == 0
    assert quarantined(tmp_path / "out") == {"two": "channels", "cancelling": "channels"}
    told = (tmp_path / "out" / "quarantine.jsonl").read_text("utf-8")
    assert "two speakers" in told and "opposite sign" in told and told.count("--channels left") == 2
    assert main([*options, str(tmp_path / "left"), "--channels", "left"]) == 0
    assert quarantined(tmp_path / "left") == {}
    flac = read_record(ShardIndex.load(tmp_path / "left" / "train"), 0)[1]
    assert flac is not None
    assert abs(load_audio(flac)[: len(one)] - one).max() < 1e-3
    write_jsonl(path, rows[:1])
    with pytest.raises(InputError, match="1 channels.*speech in both.*--channels left"):
        write_corpus(path, tmp_path / "none", layout="manifest", progress=False)
