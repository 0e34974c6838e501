"""A synthesised file is marked and signed; `amalia voice detect` tells both."""

from __future__ import annotations

import pytest
from said import spoken_clips
from voices import PASSPHRASE, enrol

from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.bank import Bank
from amalia_mm.voice.spoken_file import write_speech
from amalia_mm.voice.watermark import mark


@pytest.fixture
def bank(tmp_path, monkeypatch):
    monkeypatch.setenv("AMALIA_BANK", str(tmp_path / "bank"))
    return Bank(tmp_path / "bank", scrypt_log2_n=4)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_synthesised_file_tells_what_it_is(tmp_path, bank, capsys, ending):
    path = tmp_path / f"said.{ending}"
    speech = mark(spoken_clips()[0], SAMPLE_RATE_HZ)
    write_speech(path, speech, SAMPLE_RATE_HZ, bank.signing_folder, consent_id="0123456789abcdef")
    assert len(load_audio(path)) == len(speech)
    assert main(["voice", "detect", str(path)]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:2] == ["watermark", "found"]
    assert rows[1][0] == "manifest"
    assert rows[1][1].startswith("whole, signed by this bank: made by a model, amalia_mm")
    assert rows[1][1].endswith("consent 0123456789abcdef")


def test_a_recording_is_not_found(tmp_path, bank, capsys):
    write_audio(path := tmp_path / "recorded.wav", spoken_clips()[0])
    assert main(["voice", "detect", str(path)]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("watermark\tnot found\t")
    assert shown.endswith("manifest\tnone\n")
    assert not bank.folder.exists()


def test_the_mark_outlives_the_manifest(tmp_path, bank, capsys):
    marked = mark(spoken_clips()[2], SAMPLE_RATE_HZ)
    write_speech(tmp_path / "said.wav", marked, SAMPLE_RATE_HZ, bank.signing_folder)
    write_audio(tmp_path / "again.wav", load_audio(tmp_path / "said.wav"))
    assert main(["voice", "detect", str(tmp_path / "again.wav")]) == 0
    assert capsys.readouterr().out.endswith("manifest\tnone\n")


def test_what_is_no_audio_is_bad_input(tmp_path, bank, capsys):
    (tmp_path / "x.wav").write_text("text")
    assert main(["voice", "detect", str(tmp_path / "x.wav")]) == 2
    assert main(["voice", "detect", str(tmp_path / "gone.wav")]) == 2
    with pytest.raises(ValueError, match=r"as \.wav or \.flac"):
        write_speech(tmp_path / "x.mp3", spoken_clips()[0], SAMPLE_RATE_HZ, bank.signing_folder)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(InputError, match="a folder with room"):
        write_speech(tmp_path / "folder.wav", spoken_clips()[0], SAMPLE_RATE_HZ, bank.signing_folder)


def test_a_consent_is_told_by_a_number_that_names_nobody(tmp_path, bank):
    enrol(bank)
    enrol(bank, "b")
    ids = [bank.look(name, PASSPHRASE).consent_id for name in ("ana", "ana", "b")]
    assert ids[0] == ids[1] != ids[2]
    assert all(len(found) == 16 and int(found, 16) >= 0 for found in ids)


def test_a_full_disk_leaves_the_earlier_file(tmp_path, bank, monkeypatch):
    path = tmp_path / "said.wav"
    path.write_bytes(b"before")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    bank.signing_folder.parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(InputError):
        write_speech(path, spoken_clips()[0], SAMPLE_RATE_HZ, bank.signing_folder)
    monkeypatch.undo()
    assert path.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == ["said.wav"]
