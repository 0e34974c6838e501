"""What an acoustic model in training sounds like: files that carry the watermark, as all speech that is made."""

from __future__ import annotations

import logging

import pytest
import torch
import toy_recipe
from said import spoken_clips

from amalia_mm.audio.io import load_audio
from amalia_mm.cli import main
from amalia_mm.train.acoustic import Sample
from amalia_mm.train.voice_samples import write_sample
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.watermark import detect


@pytest.fixture(scope="module")
def sample():
    """A clip as it was heard, and once more as if a model had made it so well."""
    mel = VoiceMel(SAMPLE_RATE_HZ, 80, 1024, 256)
    heard = mel(spoken_clips()[0][None])[0]
    return mel, Sample(heard, heard, heard, torch.zeros(5, heard.shape[1]))


def test_a_sample_is_found_to_be_made(sample, tmp_path):
    """They were speech of a person's voice without the mark, in a folder that is looked at and sent around."""
    mel, clip = sample
    write_sample(tmp_path, "shard/1", clip, mel)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "shard-1.png",
        "shard-1_heard.wav",
        "shard-1_made.wav",
    ]
    for kind in ("heard", "made"):
        assert detect(load_audio(tmp_path / f"shard-1_{kind}.wav")).is_marked, kind
    assert not detect(spoken_clips()[0]).is_marked


def test_without_what_marks_there_is_nothing_to_listen_to_and_it_is_said(
    toy_data, tmp_path, monkeypatch, caplog
):
    """Training needs no extra for voices: it must neither end there nor write speech that nothing tells."""
    monkeypatch.setattr("amalia_mm.train.voice_samples.can_mark", lambda: False)
    recipe = toy_recipe.acoustic(toy_data, tmp_path / "run", 2, val_check_interval=2)
    with caplog.at_level(logging.WARNING):
        assert main(["fit", "-c", str(toy_recipe.write(recipe, tmp_path / "r.yaml"))]) == 0
    written = {path.suffix for path in (tmp_path / "run/samples").rglob("*.*")}
    assert written == {".png"}
    assert "samples are pictures alone" in caplog.text
