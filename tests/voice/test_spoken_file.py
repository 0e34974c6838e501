"""A synthesised file is marked and signed; `amalia voice detect` tells both."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from said import spoken_clips
from voices import PASSPHRASE, enrol

from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice import private_files, spoken_file
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


@pytest.mark.parametrize("ending", ["wav", "flac"])
@pytest.mark.parametrize("full", [1, 2, 3])
def test_a_full_disk_leaves_the_earlier_file(tmp_path, bank, monkeypatch, ending, full):
    """The disk may be full while speech comes, while it is encoded, and while it is signed."""
    path = tmp_path / f"said.{ending}"
    path.write_bytes(b"before")
    write_speech(tmp_path / "first.wav", spoken_clips()[0], SAMPLE_RATE_HZ, bank.signing_folder)
    (tmp_path / "first.wav").unlink()  # the key that signs is there now
    calls = iter([2, 1, 3])  # what is encoded waits around what is raw
    real = private_files.nameless

    def nameless(folder):
        return Path("/dev/full").open("w+b") if next(calls) == full else real(folder)

    for module in (private_files, spoken_file):
        monkeypatch.setattr(module, "nameless", nameless)
    with pytest.raises(InputError, match="room"):
        write_speech(path, spoken_clips()[0], SAMPLE_RATE_HZ, bank.signing_folder)
    assert path.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == [path.name]


def test_a_process_that_is_killed_leaves_nothing(tmp_path, bank):
    """Killed, not interrupted: no handler of ours runs, and what is not finished must have no name."""
    path = tmp_path / "said.wav"
    code = (
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from amalia_mm.voice.spoken_file import write_speech\n"
        "def pieces():\n"
        "    yield torch.full((400_000,), 0.1)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_speech(Path(sys.argv[1]), pieces(), 16_000, Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(path), str(bank.signing_folder)]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    assert not list(tmp_path.iterdir())


def test_what_an_earlier_process_left_on_another_system_goes(tmp_path, bank):
    (tmp_path / ".said.wav.0a1b2c3d.writing").write_bytes(b"half")
    (tmp_path / ".other.wav.0a1b2c3d.writing").write_bytes(b"half")
    write_speech(tmp_path / "said.wav", spoken_clips()[0], SAMPLE_RATE_HZ, bank.signing_folder)
    assert sorted(found.name for found in tmp_path.iterdir() if found.is_file()) == [
        ".other.wav.0a1b2c3d.writing",
        "said.wav",
    ]


def test_a_system_without_nameless_files_writes_the_same(tmp_path, bank, monkeypatch):
    pieces = spoken_clips()[0].split(5_000)
    write_speech(tmp_path / "one.wav", iter(pieces), SAMPLE_RATE_HZ, bank.signing_folder)
    real = os.open

    def without(path, flags, *mode, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *mode, **options)

    monkeypatch.setattr(os, "open", without)
    write_speech(tmp_path / "two.wav", iter(pieces), SAMPLE_RATE_HZ, bank.signing_folder)
    one, two = (load_audio(tmp_path / name) for name in ("one.wav", "two.wav"))
    assert torch.equal(one, two)
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith(".")] == []


@pytest.mark.parametrize("peak", [0.5, 3.0])
def test_pieces_are_the_file_that_the_whole_would_be(tmp_path, bank, peak):
    """The loudest sample may come last: all is divided by it, as where a clip is written at once."""
    clip = spoken_clips()[0]
    clip = torch.cat([clip / clip.abs().max() * 0.5, torch.tensor([peak])])
    write_speech(tmp_path / "a.wav", iter(clip.split(1_000)), SAMPLE_RATE_HZ, bank.signing_folder)
    write_audio(tmp_path / "b.wav", clip)
    assert torch.equal(load_audio(tmp_path / "a.wav"), load_audio(tmp_path / "b.wav"))


def test_an_hour_takes_the_memory_of_a_piece(tmp_path, bank):
    code = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from amalia_mm.voice.spoken_file import write_speech\n"
        "folder = Path(sys.argv[1])\n"
        "piece = torch.rand(160_000) - 0.5\n"
        "write_speech(folder / 'a.wav', [piece], 16_000, folder / 'signing')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "write_speech(folder / 'b.wav', (piece for _ in range(360)), 16_000, folder / 'signing')\n"
        "sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    # As float32 it would be 230 MB, and encoded 115 MB, of which c2pa holds a part.
    assert int(child.stdout) < 60_000, f"{child.stdout} kB"
