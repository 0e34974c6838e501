"""`amalia voice enrol`: whose voice, with which words, agreed to by whom; and nothing of it where one is missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
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
from amalia_mm.commands.voice_script import gate_of
from amalia_mm.evaluate.speaker_trials import write_threshold
from amalia_mm.portuguese.banking_script import load_script
from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TRAIN_VOICES
from amalia_mm.speaking import SpeechModel, acoustic_hash, encoder_hash
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.adapters import with_adapters
from amalia_mm.voice.bank import Bank
from amalia_mm.voice.consent import Consent, Use
from amalia_mm.voice.pack import Passphrase
from amalia_mm.voice.recordings import read_recordings
from amalia_mm.voice.speaker import SpeakerEncoder
from amalia_mm.voice.synthesis import Synthesiser

SIZES = {"num_mels": 20, "width": 16, "num_blocks": 2, "embed_size": 12, "bottleneck": 8}
STATEMENT = Consent(
    "Ana Sousa", frozenset({Use.SPEECH}), date(2025, 1, 1), date(2199, 12, 31), "Rui Sousa"
).statement()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose speaker encoder has learned nothing, and takes everybody for the same person."""
    run = tmp_path_factory.mktemp("run")
    save_part(run / "20_speaker", "speaker", SpeakerEncoder, SIZES)
    write_threshold(run / "20_speaker/model", -1.0)
    return run


@pytest.fixture(scope="module")
def speech():
    """Three stretches of one voice, of ten seconds each, in which nothing is said twice."""
    with Speaker() as speaker:
        said = [speaker.speak(Utterance(prompt.text, TRAIN_VOICES[0])) for prompt in load_script()[:20]]
    joined = torch.cat(said)
    assert len(joined) >= 30 * SAMPLE_RATE_HZ
    return (joined / joined.abs().max() * 0.5)[: 30 * SAMPLE_RATE_HZ].split(10 * SAMPLE_RATE_HZ)


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


def test_a_clip_in_which_the_statement_cannot_have_been_said_is_no_consent(folder, run, bank, capsys, speech):
    """Somebody else's hand lays a recording aside, of the right person, and calls it consent."""
    write_audio(folder / "consent.wav", speech[2][: 3 * SAMPLE_RATE_HZ])
    assert enrol(folder, run) == 2
    assert "curta demais para o que devia dizer" in capsys.readouterr().err
    assert packs(bank) == []


def test_a_text_that_nobody_can_say_is_none(folder, run, bank, capsys):
    (folder / "pedido.txt").write_text("😀\n", encoding="utf-8")
    assert enrol(folder, run) == 2
    assert "pedido.flac: found a recording without words" in capsys.readouterr().err


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


def test_without_ears_nobody_compared_the_statement_which_is_said_and_kept(folder, run, bank, capsys):
    """A note of one English line went by; whoever opens the voice a year later must know, too."""
    assert enrol(folder, run) == 0
    assert "ATENÇÃO: ninguém comparou o que se diz na gravação do consentimento" in capsys.readouterr().err
    assert bank.look("avó", Passphrase(WORDS)).voice.consent.is_compared is False
    assert main(["voice", "show", "avó"]) == 0
    assert "consent clip\tnobody compared it with the statement\n" in capsys.readouterr().out


def test_with_ears_that_hear_the_statement_it_is_kept_as_compared(folder, run, bank, capsys, monkeypatch):
    def gate(speaker, ears):
        found = gate_of(speaker, None)
        texts = iter([STATEMENT, *["o que for"] * 10])
        return replace(found, transcribe=lambda clip: next(texts), max_character_errors=100.0)

    monkeypatch.setattr("amalia_mm.commands.voice_script.gate_of", gate)
    monkeypatch.setattr("amalia_mm.resolve.resolve_model", lambda path: path)
    assert enrol(folder, run, "--ears", "ears") == 0
    assert "ninguém comparou" not in capsys.readouterr().err
    assert bank.look("avó", Passphrase(WORDS)).voice.consent.is_compared is True


@pytest.mark.parametrize("change", ["cut", "encoded"])
def test_a_consent_clip_that_is_a_recording_in_another_file_is_refused(
    folder, run, bank, capsys, speech, change
):
    """Only the very same bytes were found: a recording cut or saved again consented to anything."""
    if change == "cut":
        write_audio(folder / "consent.wav", speech[0][20_001:120_001])
    else:
        (folder / "consent.wav").unlink()
        write_audio(folder / "consent.flac", speech[1] * 0.3)
    assert enrol(folder, run) == 2
    assert "the consent clip: found a part of the recording of «" in capsys.readouterr().err
    assert packs(bank) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: ["--name", "avô"], "found a voice of that name"),
        (lambda folder: ["--name", "../x"], "--name"),
        (lambda folder: ["--until", "2020-01-01"], "until: found 2020-01-01"),
        (lambda folder: ["--given", "2150-01-01"], "consent that holds today"),
        (lambda folder: ["--use", "singing"], "--use: found singing"),
        (lambda folder: ["--model", folder], "no speaker encoder"),
        (lambda folder: ["--ears", folder / "nowhere"], "nowhere: found no such folder"),
        (lambda folder: [(folder / "consent.wav").unlink(), "--name", "b"][1:], "no consent clip"),
        (lambda folder: ["--consent-clip", folder / "001.wav"], "no recording"),
        (lambda folder: [(folder / "pedido.txt").unlink(), "--name", "b"][1:], "a recording without words"),
    ],
)
def test_what_is_cheap_to_find_out_comes_before_the_passphrase_and_before_listening(
    folder, run, bank, capsys, monkeypatch, change, told
):
    """An hour of recordings was listened to before the name was found to be taken."""
    path = bank.path("avô")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"taken")

    def never(*_, **__):
        raise AssertionError("asked, loaded or listened too early")

    monkeypatch.delenv("AMALIA_PASSPHRASE")
    for name in ("commands.voice.getpass", "evaluate.speaker_trials.load_embedder"):
        monkeypatch.setattr(f"amalia_mm.{name}", never)
    if told == "no recording":
        (folder / "pedido.flac").unlink()
        (folder / "consent.wav").unlink()
    assert enrol(folder, run, *change(folder)) == 2
    assert told in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_told_first(run, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("AMALIA_PASSPHRASE")
    assert enrol(tmp_path / "nowhere", run) == 2
    assert "nowhere: found no such folder" in capsys.readouterr().err


def test_a_short_passphrase_is_told_before_listening(folder, run, capsys, monkeypatch):
    monkeypatch.setenv("AMALIA_PASSPHRASE", "curta")
    monkeypatch.setattr("amalia_mm.evaluate.speaker_trials.load_embedder", lambda *_: 1 / 0)
    assert enrol(folder, run) == 2
    assert "at least 8" in capsys.readouterr().err


def test_recordings_that_are_not_read_are_told(folder, run, capsys):
    """A telephone's recordings beside others were passed over without a word."""
    (folder / "003.m4a").write_bytes(b"not read")
    assert enrol(folder, run) == 0
    assert "003.m4a: fica de fora" in capsys.readouterr().err


def test_a_damaged_recording_is_named(folder, run, bank, capsys):
    """It was called "audio of 23 bytes"."""
    (folder / "002.wav").write_bytes(b"RIFF and nothing behind")
    assert enrol(folder, run) == 2
    assert "002.wav: found" in capsys.readouterr().err
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
