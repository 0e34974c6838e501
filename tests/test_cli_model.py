"""`amalia transcribe`, `ask` and `chat` as a person meets them: text on stdout, one clear line for bad audio."""

import io
import shutil
import struct
import wave

import numpy as np
import pytest
import soundfile
import torch
from command_line import complaint

from amalia_mm.assistant import Assistant
from amalia_mm.audio.io import write_audio


def test_one_file_is_its_text_and_several_are_lines_with_their_path(amalia, model, speech):
    code, out, _ = amalia("transcribe", "--model", model, speech / "0.wav")
    assert code == 0
    assert out.count("\n") == 1
    assert "\t" not in out
    code, out, _ = amalia("transcribe", "--model", model, speech / "0.wav", speech / "1.wav")
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        str(speech / "0.wav"),
        str(speech / "1.wav"),
    ]


def test_one_bad_file_does_not_cost_the_others_their_text(amalia, model, speech, tmp_path):
    bad = tmp_path / "notes.wav"
    bad.write_text("this is not audio")
    code, out, err = amalia("transcribe", "--model", model, speech / "0.wav", bad, speech / "1.wav")
    assert code == 2
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        str(speech / "0.wav"),
        str(speech / "1.wav"),
    ]
    assert str(bad) in complaint(err)


def test_beams_reach_the_model_and_what_cannot_be_is_refused(amalia, model, speech, monkeypatch):
    heard = []
    monkeypatch.setattr(
        Assistant, "transcribe", lambda self, audios, **options: heard.append(options) or ["olá"]
    )
    assert amalia("transcribe", "--model", model, "--beams", 3, speech / "0.wav")[:2] == (0, "olá\n")
    assert heard[0]["num_beams"] == 3
    assert amalia("transcribe", "--model", model, speech / "0.wav")[0] == 0
    assert "num_beams" not in heard[1]
    code, out, err = amalia("transcribe", "--model", model, "--beams", 0, speech / "0.wav")
    assert (code, out) == (2, "")
    assert "--beams: found 0; wanted 1 or more" in complaint(err)
    monkeypatch.setattr(Assistant, "has_ctc", False)
    code, out, err = amalia("transcribe", "--model", model, "--beams", 2, speech / "0.wav")
    assert (code, out) == (2, "")
    assert "without a CTC head" in complaint(err)


def test_a_question_can_be_answered_without_a_transcript(amalia, model, speech, monkeypatch):
    asked = []
    monkeypatch.setattr(
        Assistant, "listen", lambda self, audio, **options: asked.append(options) or iter(["Sim."])
    )
    for words, direct, instruction in (
        ((), False, ""),
        (("--direct",), True, ""),
        (("--task", "summarise"), False, "Resume."),
        (("--direct", "--instruction", "Conta as palavras."), True, "Conta as palavras."),
    ):
        assert amalia("ask", "--model", model, *words, speech / "1.wav")[:2] == (0, "Sim.\n")
        assert asked[-1] == {"direct": direct, "instruction": instruction}
    assert amalia("ask", "--model", model, "--task", "sing", speech / "1.wav")[0] == 2


def riff(path, num_channels, rate_hz, width, frames):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(num_channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(frames)


def truncated(path):
    riff(path, 1, 16_000, 2, bytes(64_000))
    path.write_bytes(path.read_bytes()[:30])


def with_nan(path):
    samples = np.zeros(16_000, np.float32)
    samples[7] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


BAD_AUDIO = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncated,
    "not audio": lambda path: path.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 8),
    "no samples": lambda path: riff(path, 1, 16_000, 2, b""),
    "not a number": with_nan,
    "shorter than one token": lambda path: riff(path, 1, 16_000, 2, struct.pack("<4h", 1, 2, 3, 4)),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", BAD_AUDIO)
@pytest.mark.parametrize("command", ["transcribe", "ask"])
def test_audio_that_cannot_be_heard_is_one_line_that_names_the_file(amalia, model, tmp_path, kind, command):
    path = tmp_path / "clip.wav"
    BAD_AUDIO[kind](path)
    code, out, err = amalia(command, "--model", model, path)
    assert code == 2
    assert out.strip() == ""
    assert str(path) in complaint(err)


ODD_AUDIO = {
    "8 bit": lambda path: riff(path, 1, 16_000, 1, bytes([128, 140, 120, 128]) * 4000),
    "8 kHz": lambda path: riff(path, 1, 8_000, 2, struct.pack("<4h", 0, 900, 0, -900) * 2000),
    "6 channels": lambda path: riff(path, 6, 48_000, 2, struct.pack("<6h", 0, 900, 0, -900, 5, -5) * 24_000),
}


@pytest.mark.parametrize("kind", ODD_AUDIO)
def test_odd_audio_is_heard(amalia, model, tmp_path, kind):
    path = tmp_path / "clip.wav"
    ODD_AUDIO[kind](path)
    code, out, err = amalia("transcribe", "--model", model, path)
    assert (code, out) == (0, "\n"), "there is no speech in it, so nothing is written"
    assert err == f"{path}: não se ouviu ninguém a falar, ou não se percebeu o que disse\n"


def test_a_spoken_question_is_answered_and_silence_is_not(amalia, model, speech, tmp_path):
    code, out, _ = amalia("ask", "--model", model, speech / "1.wav")
    assert code == 0
    assert out.endswith("\n")
    write_audio(tmp_path / "silence.wav", torch.zeros(32_000))
    code, out, err = amalia("ask", "--model", model, tmp_path / "silence.wav")
    assert (code, out) == (0, "\n")
    assert "não se ouviu ninguém" in err


def test_a_written_conversation_reads_stdin(amalia, model, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("olá\n/sair\n"))
    code, out, err = amalia("chat", "--model", model)
    assert code == 0, err
    assert out.count("\n") >= 1


def test_without_a_model_it_says_how_to_get_one(amalia, monkeypatch, tmp_path, speech):
    monkeypatch.chdir(tmp_path)
    code, _, err = amalia("transcribe", speech / "0.wav")
    assert code == 2
    assert "make quickstart" in complaint(err)
    monkeypatch.setenv("AMALIA_MODEL", str(tmp_path / "gone"))
    assert str(tmp_path / "gone") in complaint(amalia("chat")[2])


def test_a_model_of_another_shape_names_the_weight(amalia, model, speech, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    path = tmp_path / "model" / "config.yaml"
    path.write_text(path.read_text().replace("intermediate_size: 48", "intermediate_size: 50"))
    code, _, err = amalia("transcribe", "--model", tmp_path / "model", speech / "0.wav")
    assert code == 2
    assert "weights.safetensors" in complaint(err)
    assert "decoder.model.layers.0.mlp" in err
