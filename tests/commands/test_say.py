"""`amalia say`: a file that is marked and signed, a stream that is a wav, a person's own recording as it is."""

from __future__ import annotations

import io
import sys
import wave
from datetime import date

import numpy as np
import pytest
import soundfile
from voice_run import save_voice
from voices import WORDS, bank_of, enrol, recording

from amalia_mm.cli import main
from amalia_mm.voice import spoken_file
from amalia_mm.voice.consent import Consent, Use
from amalia_mm.voice.phrases import Clip
from amalia_mm.voice.provenance import read_manifest

AGREED = Consent("Ana Sousa", frozenset({Use.SPEECH}), date(2025, 1, 1), date(2199, 12, 31), "Rui Sousa")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_voice(tmp_path_factory.mktemp("run"))


@pytest.fixture(autouse=True)
def bank(tmp_path, monkeypatch):
    monkeypatch.setenv("AMALIA_BANK", str(tmp_path / "bank"))
    monkeypatch.setenv("AMALIA_PASSPHRASE", WORDS)
    return bank_of(tmp_path)


def said(tmp_path, *options):
    output = tmp_path / "f.wav"
    assert main(["say", "Bom dia, está tudo bem?", "--output", str(output), *map(str, options)]) == 0
    return soundfile.read(output)[0]


def test_a_file_is_signed_by_this_bank_as_made_by_a_model(run, tmp_path, bank):
    waveform = said(tmp_path, "--model", run)
    assert len(waveform) > 8_000 and np.abs(waveform).max() > 0
    manifest = read_manifest(tmp_path / "f.wav", bank.signing_folder)
    assert manifest is not None and manifest.is_whole and manifest.is_ours and manifest.is_synthetic


def test_who_speaks_how_fast_and_how_often_changes_what_is_heard(run, tmp_path):
    usual = said(tmp_path, "--model", run)
    assert np.array_equal(usual, said(tmp_path, "--model", run, "--speaker", "pt"))
    assert not np.array_equal(usual, said(tmp_path, "--model", run, "--speaker", "ana"))
    assert len(said(tmp_path, "--model", run, "--rate", 2)) < 0.7 * len(usual)
    assert not np.array_equal(usual, said(tmp_path, "--model", run, "--seed", 1))


def test_a_stream_is_a_wav_of_the_same_samples(run, tmp_path, monkeypatch):
    usual = said(tmp_path, "--model", run)
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["say", "Bom dia, está tudo bem?", "--stream", "--model", str(run)]) == 0
    written = out.buffer.getvalue()
    assert written[:4] == b"RIFF" and written[8:12] == b"WAVE"
    with wave.open(io.BytesIO(written)) as header:
        assert (header.getnchannels(), header.getsampwidth(), header.getframerate()) == (1, 2, 16_000)
    samples = np.frombuffer(written[44:], "<i2") / 32767.0
    assert len(samples) == len(usual)
    # Both are marked, piece by piece or six seconds at a time.
    assert np.corrcoef(samples, usual)[0, 1] > 0.99


def test_text_may_come_from_standard_input(run, tmp_path, monkeypatch):
    usual = said(tmp_path, "--model", run)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Bom dia, está tudo bem?\n"))
    assert main(["say", "--output", str(tmp_path / "g.wav"), "--model", str(run)]) == 0
    assert np.array_equal(usual, soundfile.read(tmp_path / "g.wav")[0])


def test_exactly_what_was_recorded_is_the_recording(bank, tmp_path):
    recorded = Clip("Quero água, por favor.", recording(9))
    enrol(bank, clips=[recorded], consent=AGREED, today=date(2026, 1, 1))
    output = tmp_path / "f.wav"
    text = "quero água por favor"
    assert main(["say", text, "--voice", "ana", "--output", str(output)]) == 0
    (heard, rate_hz), (expected, own_hz) = soundfile.read(output), soundfile.read(io.BytesIO(recorded.audio))
    assert rate_hz == own_hz == 24_000
    assert np.allclose(heard, expected, atol=1e-4)
    assert read_manifest(output, bank.signing_folder) is None, "a person said it, no model"


def test_a_banked_voice_needs_a_model_that_is_told_who_speaks(bank, run, tmp_path, capsys):
    enrol(bank, consent=AGREED, today=date(2026, 1, 1))
    output = tmp_path / "f.wav"
    given = ["say", "Nunca dito.", "--voice", "ana", "--output", str(output), "--model", str(run)]
    assert main(given) == 2
    assert "speaker encoder" in capsys.readouterr().err
    assert not output.exists()


def test_a_revoked_voice_says_nothing_not_even_what_was_recorded(bank, tmp_path, capsys):
    recorded = Clip("Quero água.", recording(9))
    enrol(bank, clips=[recorded], consent=AGREED, today=date(2026, 1, 1))
    bank.revoke("ana", "Ana Sousa")
    output = tmp_path / "f.wav"
    assert main(["say", "Quero água.", "--voice", "ana", "--output", str(output)]) == 2
    assert "revoked" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--output FILE or --stream"),
        (["--output", "f.ogg"], ".wav or .flac"),
        (["--output", "f.wav", "--rate", "9"], "0.5 to 2"),
        (["--output", "f.wav", "--pitch", "40"], "-12 to 12"),
        (["--output", "f.wav", "--speaker", "nobody"], "ana, pt"),
        (["--output", "f.wav", "--speaker", "pt", "--voice", "ana"], "one of them"),
        (["--output", "f.wav", "--vocoder", "nowhere"], "nowhere"),
        (["--output", "f.wav", "--seed", "9" * 30], "--seed"),
        (["--output", "nowhere/f.wav"], "nowhere"),
        (["--output", "folder.wav"], "folder.wav: found Is a directory"),
    ],
)
def test_what_cannot_be_is_told(run, options, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.wav").mkdir()
    assert main(["say", "Olá.", "--model", str(run), *options]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("f.*"))


def test_a_run_without_a_voice_says_how_to_get_one(tmp_path, capsys):
    assert main(["say", "Olá.", "--output", str(tmp_path / "f.wav"), "--model", str(tmp_path)]) == 2
    assert "21_acoustic" in capsys.readouterr().err


@pytest.fixture
def nobody_types(monkeypatch):
    """A keyboard that must not be asked."""
    monkeypatch.delenv("AMALIA_PASSPHRASE")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def asked(prompt):
        raise AssertionError(f"asked for a {prompt}")

    monkeypatch.setattr("amalia_mm.commands.voice.getpass", asked)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["Olá.", "--voice", "nada", "--output", "f.wav"], "no such voice"),
        (["Olá.", "--voice", "ana", "--output", "f.wav"], "revoked"),
        (["Olá.", "--voice", "bia", "--output", "f.wav", "--model", "nowhere"], "nowhere: found no voice"),
        (["☂", "--voice", "bia", "--output", "f.wav"], "nothing that can be said"),
        (["<speak>Olá.</speak>", "--voice", "bia", "--output", "f.wav"], "<speak>"),
        (["Olá.", "--voice", "bia", "--output", "nowhere/f.wav"], "nowhere"),
        (["Olá.", "--voice", "bia", "--output", "f.wav", "--vocoder", "nowhere"], "griffin-lim"),
    ],
)
def test_what_is_cheap_to_find_out_comes_before_the_passphrase(
    bank, options, told, nobody_types, tmp_path, monkeypatch, capsys
):
    """A long passphrase was typed blind, only to be told of a misspelt name."""
    for name in ("ana", "bia"):
        enrol(bank, name, consent=AGREED, today=date(2026, 1, 1))
    bank.revoke("ana", "Ana Sousa")
    monkeypatch.chdir(tmp_path)
    assert main(["say", *options]) == 2
    assert told in capsys.readouterr().err


def test_text_in_another_encoding_is_told(run, tmp_path, monkeypatch, capsys):
    """Its accented letters were left out, and what remained was said."""
    text = io.TextIOWrapper(io.BytesIO("Olá, mãe.".encode("latin-1")), "utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", text)
    assert main(["say", "--output", str(tmp_path / "f.wav"), "--model", str(run)]) == 2
    assert "text: found bytes that are no UTF-8" in capsys.readouterr().err


def test_text_that_cannot_be_said_is_told_before_anything_is_loaded(run, tmp_path, monkeypatch, capsys):
    def loaded(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("amalia_mm.speaking.load_voice_part", loaded)
    assert main(["say", "☂", "--output", str(tmp_path / "f.wav"), "--model", str(run)]) == 2
    assert "nothing that can be said" in capsys.readouterr().err


def test_a_terminal_is_no_place_for_sound(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["say", "Olá.", "--stream", "--model", str(run)]) == 2
    assert "--stream: found a terminal" in capsys.readouterr().err


def test_ctrl_c_leaves_the_earlier_file_and_says_so(run, tmp_path, monkeypatch, capsys):
    """It said that what was finished was kept; nothing was."""
    output = tmp_path / "f.wav"
    output.write_bytes(b"before")
    pushed = []

    def push(self, waveform):
        pushed.append(len(waveform))
        if len(pushed) == 3:
            raise KeyboardInterrupt
        return waveform

    monkeypatch.setattr("amalia_mm.voice.watermark.Marker.push", push)
    text = "Bom dia. " * 20
    assert main(["say", text, "--output", str(output), "--model", str(run)]) == 130
    told = capsys.readouterr().err
    assert "nothing was written" in told and "kept" not in told
    assert output.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == ["f.wav"]


def test_speech_is_written_while_it_is_made(run, tmp_path, monkeypatch):
    """All of a long text lay in memory until its last word: here a piece is written before the last is made."""
    written, made = [], []
    keep = spoken_file._keep

    def kept(pieces, raw):
        def counted():
            for piece in pieces:
                made.append(len(piece))
                yield piece
                written.append(raw.tell())

        return keep(counted(), raw)

    monkeypatch.setattr(spoken_file, "_keep", kept)
    text = "Bom dia. " * 30
    assert main(["say", text, "--output", str(tmp_path / "f.wav"), "--model", str(run)]) == 0
    assert len(made) > 20
    assert written == [4 * sum(made[: count + 1]) for count in range(len(made))]
