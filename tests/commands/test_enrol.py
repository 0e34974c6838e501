"""`amalia voice enrol`: whose voice, with which words, agreed to by whom; and nothing of it where one is missing."""

from __future__ import annotations

import json
from datetime import date

import pytest
import torch
from said import spoken_clips
from voice_run import save_part
from voices import WORDS

from amalia_mm.audio.io import write_audio
from amalia_mm.cli import main
from amalia_mm.evaluate.speaker_trials import write_threshold
from amalia_mm.portuguese.banking_script import load_script
from amalia_mm.speaking import encoder_hash
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.bank import Bank
from amalia_mm.voice.consent import Use
from amalia_mm.voice.pack import Passphrase
from amalia_mm.voice.recordings import read_recordings
from amalia_mm.voice.speaker import SpeakerEncoder

SIZES = {"num_mels": 20, "width": 16, "num_blocks": 2, "embed_size": 12, "bottleneck": 8}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose speaker encoder has learned nothing, and takes everybody for the same person."""
    run = tmp_path_factory.mktemp("run")
    save_part(run / "20_speaker", "speaker", SpeakerEncoder, SIZES)
    write_threshold(run / "20_speaker/model", -1.0)
    return run


@pytest.fixture(scope="module")
def speech():
    """Two stretches of one voice, of some ten seconds each, and a short one."""
    clips = [clip / clip.abs().max() * 0.5 for clip in spoken_clips()]
    joined = torch.cat(clips * 4)[: 30 * SAMPLE_RATE_HZ]
    return joined.split(len(joined) // 3)


@pytest.fixture
def folder(tmp_path, speech):
    folder = tmp_path / "gravações"
    folder.mkdir()
    write_audio(folder / "001.wav", speech[0])
    write_audio(folder / "pedido.flac", speech[1])
    (folder / "pedido.txt").write_text("Quero água, por favor.\n", encoding="utf-8")
    write_audio(folder / "consent.wav", speech[2])
    return folder


@pytest.fixture(autouse=True)
def bank(tmp_path, monkeypatch):
    monkeypatch.setenv("AMALIA_BANK", str(tmp_path / "bank"))
    monkeypatch.setenv("AMALIA_PASSPHRASE", WORDS)
    return Bank(tmp_path / "bank")


def enrol(folder, run, *options):
    given = ["voice", "enrol", folder, "--name", "avó", "--person", "Ana Sousa", "--until", "2199-12-31"]
    return main([*map(str, given), "--decides-later", "Rui Sousa", "--model", str(run), *map(str, options)])


def packs(bank):
    return [each.name for each in bank.packs()]


def test_a_folder_of_recordings_becomes_a_voice(folder, run, bank, capsys):
    assert enrol(folder, run, "--use", "export") == 0
    assert capsys.readouterr().out.strip() == str(bank.path("avó"))
    opened = bank.open("avó", Passphrase(WORDS), Use.EXPORT)
    assert opened.voice.consent.person == "Ana Sousa"
    assert opened.voice.consent.given == date.today()
    assert {clip.text for clip in opened.voice.clips} == {load_script()[0].text, "Quero água, por favor."}
    assert opened.replay("quero água por favor") is not None
    assert opened.voice.speaker.made_for == {"speaker_encoder": encoder_hash(run)}
    assert float(torch.from_numpy(opened.voice.speaker.embedding).norm()) == pytest.approx(1.0, abs=1e-5)


def test_without_a_consent_clip_it_says_what_is_to_be_read_out(folder, run, bank, capsys):
    (folder / "consent.wav").unlink()
    assert enrol(folder, run) == 2
    told = capsys.readouterr().err
    assert "«Eu, Ana Sousa, autorizo que a minha voz" in told and "31 de dezembro de 2199" in told
    assert packs(bank) == []


def test_consent_of_somebody_else_is_refused(folder, run, bank, capsys):
    write_threshold(run / "20_speaker/model", 0.99999)
    try:
        assert enrol(folder, run) == 2
    finally:
        write_threshold(run / "20_speaker/model", -1.0)
    assert "similarity" in capsys.readouterr().err
    assert packs(bank) == []


def test_a_consent_clip_from_elsewhere_leaves_that_in_the_folder_out(folder, run, bank, tmp_path):
    (folder / "consent.wav").rename(tmp_path / "other.wav")
    write_audio(folder / "consent.flac", spoken_clips()[0])
    assert enrol(folder, run, "--consent-clip", tmp_path / "other.wav") == 0
    opened = bank.open("avó", Passphrase(WORDS), Use.SPEECH)
    assert len(opened.voice.clips) == 2


def test_bad_recordings_are_told_in_portuguese_and_left_out(folder, run, bank, capsys):
    write_audio(folder / "002.wav", torch.zeros(3 * SAMPLE_RATE_HZ))
    assert enrol(folder, run) == 0
    told = capsys.readouterr().err
    assert "002.wav: " in told and "1 de 3 gravações ficam de fora" in told
    assert len(bank.open("avó", Passphrase(WORDS), Use.SPEECH).voice.clips) == 2


def test_too_little_speech_is_no_voice(folder, run, bank, capsys):
    (folder / "001.wav").unlink()
    write_audio(folder / "pedido.flac", spoken_clips()[0])
    assert enrol(folder, run) == 2
    assert "10 s or more" in capsys.readouterr().err
    assert packs(bank) == []


def test_a_recording_without_words_is_named(folder, run, bank, capsys):
    (folder / "pedido.txt").unlink()
    assert enrol(folder, run) == 2
    assert "pedido.flac" in capsys.readouterr().err
    assert packs(bank) == []


def test_rows_say_what_is_in_files_further_down(folder, speech):
    (folder / "dia").mkdir()
    write_audio(folder / "dia/um.wav", speech[0])
    (folder / "frases.jsonl").write_text(json.dumps({"audio": "dia/um.wav", "text": "Bom dia."}) + "\n")
    found = {path.name: clip.text for path, clip in read_recordings(folder, leave_out=folder / "consent.wav")}
    assert found["um.wav"] == "Bom dia." and len(found) == 3


def test_a_run_without_a_speaker_encoder_says_how_to_get_one(folder, tmp_path, bank, capsys):
    assert enrol(folder, tmp_path) == 2
    assert "20_speaker" in capsys.readouterr().err
    assert packs(bank) == []
