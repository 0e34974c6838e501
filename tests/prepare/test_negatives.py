"""Clips in which nobody speaks: every kind of them, the same for the same seed, with nothing to write down."""

from __future__ import annotations

import pytest
import torch

from amalia_mm.audio.io import load_audio
from amalia_mm.audio.music import music_clip
from amalia_mm.audio.no_speech import NO_SPEECH
from amalia_mm.audio.vad import speech_segments
from amalia_mm.cli import main
from amalia_mm.data.pipeline import spoken_of
from amalia_mm.data.shards import ShardIndex, read_record


def test_half_is_music_and_nothing_is_said(tmp_path):
    command = ["prepare", "negatives", "--records", "24", "--min-s", "0.5", "--max-s", "1.5"]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main([*command, "--output", str(tmp_path / name), "--seed", seed]) == 0
    index = ShardIndex.load(tmp_path / "a")
    found = [read_record(index, number) for number in range(len(index))]
    assert len(found) == 24
    for record, audio in found:
        assert (record.task, record.text, spoken_of(record)) == ("transcribe", "", "")
        assert 8_000 <= len(load_audio(audio)) <= 24_000
    sources = index.coded["source"].counts()
    assert sources["no-speech-music"] == 12
    assert all(sources[f"no-speech-{kind}"] == 2 for kind in NO_SPEECH)
    assert ShardIndex.load(tmp_path / "b").fingerprint == index.fingerprint
    assert ShardIndex.load(tmp_path / "c").fingerprint != index.fingerprint


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--records", "0"], "--records: found 0"),
        (["--records", "2", "--min-s", "3", "--max-s", "2"], "--min-s: found 3.0 to 2.0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, capsys, wrong, said):
    assert main(["prepare", "negatives", "--output", str(tmp_path / "a"), *wrong]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_music_has_tones_and_no_speech():
    clips = [music_clip(3.0, torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert torch.equal(clips[0], music_clip(3.0, torch.Generator().manual_seed(0)))
    for clip in clips:
        assert clip.shape == (48_000,) and clip.dtype == torch.float32
        assert 0 < float(clip.abs().max()) < 0.981
        # Tones, not noise: a few of the frequencies have nearly all of the power.
        power = torch.fft.rfft(clip).abs().square()
        assert power.topk(len(power) // 50).values.sum() > 0.8 * power.sum()
    heard = sum(sum(s.end_samples - s.start_samples for s in speech_segments(clip)) for clip in clips)
    assert heard < 0.1 * 8 * 48_000, (
        "what a detector takes for speech would be a clip of speech without words"
    )
