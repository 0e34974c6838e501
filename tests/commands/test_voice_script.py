"""`amalia voice script | trials`, as they are typed."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from amalia_mm.audio.io import write_audio
from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.evaluate.speaker_trials import load_verifier
from amalia_mm.portuguese.banking_script import load_script
from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TEST_VOICES
from amalia_mm.run import save_model
from amalia_mm.train.speaker import _Voices
from amalia_mm.voice.speaker import SpeakerEncoder

SIZES = {"num_mels": 20, "width": 16, "num_blocks": 2, "embed_size": 12, "bottleneck": 8}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two sentences each of two voices, and a manifest of them."""
    folder, rows = tmp_path_factory.mktemp("clips"), []
    with Speaker() as speaker:
        for voice in TEST_VOICES[::2]:
            for prompt in load_script()[:2]:
                path = folder / f"{voice.name}-{prompt.number}.wav"
                write_audio(path, speaker.speak(Utterance(prompt.text, voice)))
                rows.append({"audio": path.name, "voice": voice.name})
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def model(tmp_path):
    config = {"speaker": {"class_path": "amalia_mm.voice.speaker.SpeakerEncoder", "init_args": SIZES}}
    folder = tmp_path / "stage" / "model"
    save_model(folder, _Voices(SpeakerEncoder(**SIZES)), config=config, tokenizer=None, card="")
    return folder.parent


def test_the_whole_script_is_printed_and_one_session_of_it(amalia):
    code, out, _ = amalia("voice", "script")
    assert code == 0
    assert len(out.splitlines()) == len(load_script())
    _, out, _ = amalia("voice", "script", "--session", "3")
    assert [line.split("\t")[1] for line in out.splitlines()] == ["3"] * 10
    code, _, err = amalia("voice", "script", "--session", "99")
    assert code == 2
    assert "wanted 1 to 16" in err


def test_a_session_goes_on_and_what_is_bad_is_asked_for_again(amalia, clips, tmp_path):
    voice = TEST_VOICES[0].name
    (tmp_path / "001.wav").write_bytes((clips / f"{voice}-001.wav").read_bytes())
    write_audio(tmp_path / "002.wav", torch.zeros(32_000))
    _, out, err = amalia("voice", "script", "--folder", tmp_path)
    assert out.startswith("003\t1\t")
    assert "2 de 160 frases gravadas" in err
    _, out, err = amalia("voice", "script", "--folder", tmp_path, "--check")
    assert out.startswith("002\t1\t")
    assert "1 de 160" in err
    assert "002.wav: Não se ouve ninguém" in err
    assert amalia("voice", "script", "--check")[0] == 2


def test_coverage_of_the_script_is_printed(amalia, tmp_path):
    (tmp_path / "text.txt").write_text("Bom dia, está tudo bem?\nQueria um copo de água.\n", encoding="utf-8")
    code, out, _ = amalia("voice", "script", "--coverage", "--text", tmp_path / "text.txt")
    assert code == 0
    figures = dict(line.split("\t") for line in out.splitlines())
    assert figures["sentences"] == "160"
    assert figures["sounds"] == "38 of 38"
    assert int(figures["ʎ"]) >= 3
    assert amalia("voice", "script", "--coverage", "--text", tmp_path / "none.txt")[0] == 2


def test_trials_are_measured_and_the_threshold_is_kept(amalia, clips, model):
    with pytest.raises(InputError, match="voice trials"):
        load_verifier(model)
    code, out, _ = amalia("voice", "trials", model, clips / "clips.jsonl", "--by", "voice", "--write")
    assert code == 0
    figures = dict(line.split("\t") for line in out.splitlines())
    assert (figures["num_clips"], figures["num_speakers"]) == ("4", "2")
    assert 0 <= float(figures["voice_error_rate"]) <= 1
    verifier = load_verifier(model)
    assert f"{verifier.threshold:.4f}" == figures["threshold"]
    assert yaml.safe_load((model / "model" / "config.yaml").read_text())["speaker"]["init_args"] == SIZES


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--by", "nobody"), "nobody"),
        (("--false-accepts", "2"), "--false-accepts"),
        (("--most", "1"), "0 trials of"),
    ],
)
def test_trials_that_cannot_be_are_one_line(amalia, clips, model, options, match):
    code, _, err = amalia("voice", "trials", model, clips / "clips.jsonl", *options)
    assert code == 2
    assert match in err


def test_a_folder_without_a_speaker_encoder_is_told(amalia, clips, model, tmp_path):
    config = model / "model" / "config.yaml"
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({"format": content["format"], "vocoder": content["speaker"]}))
    code, _, err = amalia("voice", "trials", model, clips / "clips.jsonl")
    assert code == 2
    assert "found vocoder; wanted a speaker" in err
    config.write_text(
        yaml.safe_dump({**content, "speaker": {**content["speaker"], "init_args": {"width": 8}}})
    )
    assert amalia("voice", "trials", model, clips / "clips.jsonl")[0] == 2


def test_a_folder_that_is_not_there_yet_is_told(tmp_path, capsys):
    """It may be the first day, or a mistyped path."""
    assert main(["voice", "script", "--folder", str(tmp_path / "gravações"), "--session", "1"]) == 0
    assert "gravações: esta pasta ainda não existe" in capsys.readouterr().err
