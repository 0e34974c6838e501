"""A recording read in blocks is the recording read whole, however it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.audio import recording as recording_module
from amalia_mm.audio.io import load_audio
from amalia_mm.audio.recording import Recording, Window
from amalia_mm.errors import InputError


def write(path, seconds, rate_hz, num_channels=1):
    samples = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate_hz), num_channels))
    soundfile.write(path, samples.astype(np.float32), rate_hz)
    return path


@pytest.mark.parametrize(
    ("name", "rate_hz"),
    [("a.wav", 16_000), ("a.wav", 44_100), ("a.flac", 22_050), ("a.mp3", 48_000), ("a.ogg", 8_000)],
)
def test_the_blocks_of_a_long_file_are_its_whole(tmp_path, monkeypatch, name, rate_hz):
    monkeypatch.setattr(recording_module, "_KEPT_SAMPLES", 16_000)
    monkeypatch.setattr("amalia_mm.audio.io._BLOCK_VALUES", 7_001)
    path = write(tmp_path / name, 5.3, rate_hz)
    long = Recording(path)
    blocks = [*long.blocks()]
    assert len(blocks) > 3
    whole = load_audio(path)
    assert torch.equal(torch.cat(blocks), whole)
    assert (long.num_samples, long.peak) == (len(whole), float(whole.abs().max()))
    assert torch.equal(torch.cat([*long.blocks()]), whole), "it can be read again"
    assert torch.equal(long.whole(), whole)


def test_blocks_resampled_one_by_one_are_the_whole_resampled_at_once(tmp_path, monkeypatch):
    import soxr

    path = write(tmp_path / "a.wav", 4.0, 44_100)
    at_once = soxr.resample(soundfile.read(path, dtype="float32")[0], 44_100, 16_000)
    monkeypatch.setattr("amalia_mm.audio.io._BLOCK_VALUES", 5_000)
    np.testing.assert_allclose(Recording(path).whole().numpy(), at_once, atol=1e-5)


def test_a_channel_can_be_chosen(tmp_path):
    path = write(tmp_path / "a.wav", 1.0, 16_000, num_channels=2)
    samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    assert torch.equal(Recording(path, 1).whole(), samples[:, 1])
    assert torch.equal(Recording(path.read_bytes(), 0).whole(), samples[:, 0])
    torch.testing.assert_close(Recording(path).whole(), samples.mean(dim=1))
    with pytest.raises(InputError, match="found 2 channels; wanted 3 or more"):
        Recording(path, 2)


def test_damage_in_the_middle_is_told_before_anything_is_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_module, "_KEPT_SAMPLES", 100)
    samples = np.zeros(40_000, np.float32)
    samples[30_000] = np.inf
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"not a finite number, at 1\.875 s"):
        Recording(tmp_path / "a.wav")


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.data())
def test_a_window_gives_what_the_whole_has_there(sizes, data):
    whole = torch.arange(float(sum(sizes)))
    window = Window(iter(whole.split(sizes)))
    forgotten = 0
    for _ in range(8):
        start = data.draw(st.integers(forgotten, len(whole)))
        end = data.draw(st.integers(start, len(whole) + 5))
        assert torch.equal(window[start:end], whole[start:end])
        forgotten = data.draw(st.integers(forgotten, min(end, len(whole))))
        window.forget(forgotten)


def test_what_is_forgotten_is_not_made_up():
    window = Window(iter([torch.zeros(100)]))
    assert len(window[0:50]) == 50
    window.forget(40)
    with pytest.raises(ValueError, match="sample 39 is forgotten: the window begins at 40"):
        window[39:41]


def test_a_window_does_not_hold_more_than_is_asked_for():
    window = Window(torch.zeros(100) for _ in range(1_000))
    for start in range(0, 99_000, 500):
        assert len(window[start : start + 700]) == 700
        window.forget(start + 500)
        assert len(window._held) <= 800
