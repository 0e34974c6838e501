"""The command line in a test: a small model that hears, two recordings, and what a command printed."""

import subprocess
import sys

import pytest
import torch
import toy_recipe
from ears import EARS

from amalia_mm import cli
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.io import write_audio
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TRAIN_VOICES
from amalia_mm.run import save_model
from amalia_mm.text.decoder import Decoder, DecoderConfig


@pytest.fixture(scope="module")
def model(tmp_path_factory, toy_data):
    torch.manual_seed(0)
    sizes = {**toy_recipe.DECODER, "dropout": 0.0}
    config = DecoderConfig(**sizes)
    parts = {
        "decoder": sizes,
        "encoder": {"class_path": "amalia_mm.audio.encoder.ConvTransformer", "init_args": EARS},
        "projector": {"class_path": "amalia_mm.fusion.projectors.CtcPosterior"},
    }
    model = SpeechTextModel(ConvTransformer(**EARS), CtcPosterior(8, config), Decoder(config))
    folder = tmp_path_factory.mktemp("cli") / "model"
    save_model(folder, model, config=parts, tokenizer=toy_data / "tokenizer", card="")
    return folder


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    with Speaker() as speaker:
        for number, text in enumerate(("Bom dia, queria um café.", "Onde fica a estação?")):
            write_audio(folder / f"{number}.wav", speaker.speak(Utterance(text, TRAIN_VOICES[0])))
    return folder


@pytest.fixture
def amalia(capsys):
    """Run a command in this process; give back the exit code, stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def complaint(err):
    """The one line on stderr that is ours; progress bars are not lines of complaint."""
    lines = [line for line in err.replace("\r", "\n").splitlines() if line.startswith("amalia")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def child(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "amalia_mm.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=50,
        **options,
    )
