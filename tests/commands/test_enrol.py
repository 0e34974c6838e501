"""`amalia voice enrol`: whose voice, with which words, agreed to by whom; and nothing of it where one is missing."""

from __future__ import annotations

import json
import shutil
from datetime import date

import numpy as np
import own_voice
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from said import spoken_clips
from voice_run import save_part
from voices import WORDS

from amalia_mm.audio.io import write_audio
from amalia_mm.cli import main
from amalia_mm.evaluate.speaker_trials import write_threshold
from amalia_mm.portuguese.banking_script import load_script
from amalia_mm.speaking import SpeechModel, acoustic_hash, encoder_hash
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.adapters import with_adapters
from amalia_mm.voice.bank import Bank
from amalia_mm.voice.consent import Use
from amalia_mm.voice.pack import Passphrase
from amalia_mm.voice.recordings import read_recordings
from amalia_mm.voice.speaker import SpeakerEncoder
from amalia_mm.voice.synthesis import Synthesiser

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


@pytest.fixture(scope="module")
def speaking(tmp_path_factory):
    """A run that speaks, and takes everybody for the same person."""
    run = own_voice.save_run(tmp_path_factory.mktemp("speaking"))
    write_threshold(run / "20_speaker/model", -1.0)
    return run


@pytest.fixture
def steps(tmp_path):
    recipe = {
        "model": {"init_args": {"own_voice": True, "lora": own_voice.LORA, "optim": own_voice.OPTIM}},
        "data": {"init_args": own_voice.BUDGET | {"max_frames": 20_000}},
        "trainer": {"max_steps": 2, "precision": "32-true"},
    }
    (tmp_path / "two_steps.yaml").write_text(json.dumps(recipe))
    return tmp_path / "two_steps.yaml"


def test_an_adapted_voice_speaks_out_of_its_pack_and_lies_nowhere_else(
    folder, speaking, bank, steps, tmp_path, speech, monkeypatch
):
    write_audio(folder / "002.wav", torch.cat([speech[1], speech[0]]))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    assert enrol(folder, speaking, "--adapt", steps) == 0
    speaker = bank.open("avó", Passphrase(WORDS), Use.SPEECH).voice.speaker
    assert speaker.adapters is not None and speaker.made_for["acoustic"] == acoustic_hash(speaking)
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert new == {bank.path("avó")}, "nothing but the pack is written"
    content = bank.path("avó").read_bytes()
    assert speaker.embedding.tobytes() not in content and speaker.adapters[-64:] not in content, (
        "in the clear"
    )

    output = tmp_path / "f.wav"
    text = "Uma frase que ninguém gravou."
    assert main(["say", text, "--voice", "avó", "--model", str(speaking), "--output", str(output)]) == 0
    said, _ = soundfile.read(output, dtype="float32")
    # What the adapters make of the base is put together here once more, without a pack.
    model = SpeechModel(speaking)
    own = with_adapters(model.acoustic, speaker.adapters)
    vector = torch.from_numpy(speaker.embedding)
    by_hand = Synthesiser(own, model.vocoder, vector).say(text)
    np.testing.assert_allclose(said, by_hand.clamp(-1, 1).numpy(), atol=1.0 / 32000)
    as_base = model.voiced(vector).say(text)
    assert as_base.shape != by_hand.shape or not torch.allclose(as_base, by_hand, atol=1e-3)


def test_a_pack_made_for_another_model_says_so(folder, speaking, bank, steps, tmp_path, speech, capsys):
    write_audio(folder / "002.wav", torch.cat([speech[1], speech[0]]))
    assert enrol(folder, speaking, "--adapt", steps) == 0
    other = tmp_path / "other"
    shutil.copytree(speaking, other)
    weights = load_file(other / "21_acoustic/model/weights.safetensors")
    save_file(
        {name: value + 0.001 for name, value in weights.items()},
        other / "21_acoustic/model/weights.safetensors",
    )
    options = ["--voice", "avó", "--output", str(tmp_path / "f.wav")]
    assert main(["say", "Uma frase nova.", *options, "--model", str(other)]) == 2
    assert "acoustic model" in capsys.readouterr().err and not (tmp_path / "f.wav").exists()


def test_nothing_is_learned_of_somebody_who_did_not_consent(
    folder, speaking, bank, steps, speech, capsys, monkeypatch
):
    monkeypatch.setattr("amalia_mm.train.adapt.adapt", lambda *_: pytest.fail("it was learned"))
    write_threshold(speaking / "20_speaker/model", 0.99999)
    try:
        assert enrol(folder, speaking, "--adapt", steps) == 2
    finally:
        write_threshold(speaking / "20_speaker/model", -1.0)
    assert "nobody consents for another voice" in capsys.readouterr().err
    assert enrol(folder, speaking, "--adapt", "nada") == 2
    assert "lora, embedding, full" in capsys.readouterr().err and packs(bank) == []


def test_too_little_for_adapting_is_told_and_no_pack_is_left(folder, speaking, bank, steps, capsys):
    assert enrol(folder, speaking, "--adapt", steps) == 2
    assert "30 s or more" in capsys.readouterr().err and packs(bank) == []
