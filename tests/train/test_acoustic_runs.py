"""An acoustic model that an encoder tells who speaks: what a run leaves is a voice, by name and by anybody's vector."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
import toy_recipe
from torch.nn import functional
from voice_run import save_part

from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.run import WEIGHTS, read_weights
from amalia_mm.speaking import SpeechModel
from amalia_mm.voice.own_voice import SpeakerData
from amalia_mm.voice.speaker import SpeakerEncoder

ENCODER = {"num_mels": 20, "width": 16, "num_blocks": 2, "embed_size": 4, "bottleneck": 8}


@pytest.fixture
def recipe(toy_data, tmp_path):
    """A recipe of 6 steps in a run with a speaker encoder."""
    save_part(tmp_path / "20_speaker", "speaker", SpeakerEncoder, ENCODER)
    made = toy_recipe.acoustic(toy_data, tmp_path / "21_acoustic", 6, val_check_interval=3)
    made["model"]["init_args"]["speaker_encoder"] = str(tmp_path / "20_speaker/model")
    made["checkpoint"]["every_n_train_steps"] = 3
    return toy_recipe.write(made, tmp_path / "recipe.yaml")


def test_voices_by_name_are_in_the_model_and_go_on_where_a_run_was_stopped(recipe, tmp_path):
    """Frozen weights are left out of checkpoints and folders: the table was lost, and the folder could not be read."""
    assert main(["fit", "-c", str(recipe)]) == 0
    model = SpeechModel(tmp_path)
    assert model.hears_speakers and model.speakers
    table = model.acoustic.speakers.weight
    assert table[: len(model.speakers)].any(dim=1).all(), "every speaker was heard"
    voice = model.learned(model.speakers[0])
    assert float(voice.speaker.norm()) == pytest.approx(1.0, abs=1e-5)
    assert voice.say("Bom dia.").isfinite().all()

    half = tmp_path / "half"
    options = ["--run_folder", str(half / "21_acoustic")]
    assert main(["fit", "-c", str(recipe), *options, "--trainer.max_steps", "3"]) == 0
    begun = read_weights(half / "21_acoustic/model")["acoustic.speakers.weight"]
    assert main(["fit", "-c", str(recipe), *options, "--ckpt_path", str(half / "21_acoustic/last.ckpt")]) == 0
    ended = read_weights(half / "21_acoustic/model")["acoustic.speakers.weight"]
    assert not torch.equal(begun, ended)
    assert torch.equal(ended, table.cpu())


def test_a_banked_vector_is_taken_of_the_encoder_that_was_listened_to_alone(recipe, tmp_path):
    assert main(["fit", "-c", str(recipe), "--trainer.max_steps", "1"]) == 0
    model = SpeechModel(tmp_path)
    vector = functional.normalize(torch.randn(4), dim=0).numpy().astype(np.float32)
    own = hashlib.sha256((tmp_path / "20_speaker/model" / WEIGHTS).read_bytes()).hexdigest()
    assert np.array_equal(model.checked(SpeakerData(vector, None, {"speaker_encoder": own})), vector)
    # Another encoder in the run's folder changes nothing of what this model has learned from.
    save_part(tmp_path / "20_speaker", "speaker", SpeakerEncoder, {**ENCODER, "width": 24})
    other = hashlib.sha256((tmp_path / "20_speaker/model" / WEIGHTS).read_bytes()).hexdigest()
    with pytest.raises(InputError, match="speaker encoder"):
        model.checked(SpeakerData(vector, None, {"speaker_encoder": other}))
