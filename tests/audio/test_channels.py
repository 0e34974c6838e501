"""One scene in two channels is mixed; two speakers are refused with what can be done."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from sound import in_turns, said, stereo

from amalia_mm.audio.channels import check_channels, likeness, load_scene, open_recording, sides_of
from amalia_mm.audio.noise import add_noise
from amalia_mm.errors import InputError


@pytest.fixture(scope="module")
def voices() -> list[torch.Tensor]:
    return said("Preciso de ajuda para me levantar.", "O autocarro parte às oito e meia da manhã.")


def gap(seconds):
    return torch.zeros(round(16_000 * seconds))


@pytest.fixture
def conversation(tmp_path, voices):
    return in_turns(tmp_path / "turns.wav", *voices, one_again=True)


def test_two_who_speak_in_turns_are_refused_with_what_can_be_done(conversation):
    with pytest.raises(InputError, match=r"turns\.wav: channels: found speech in both.*--channels split"):
        check_channels(conversation)
    with pytest.raises(InputError, match="two speakers"):
        open_recording(conversation.read_bytes(), None)


def test_two_who_speak_at_once_are_refused(tmp_path, voices):
    one, other = voices
    both = stereo(tmp_path / "both.wav", torch.cat([gap(0.4), one]), torch.cat([other, gap(0.3)]))
    with pytest.raises(InputError, match="two speakers"):
        check_channels(both)


def test_what_is_asked_for_is_heard(conversation, voices):
    left = open_recording(conversation, "left").whole()
    assert left[: len(voices[0])].abs().sum() > 0
    torch.testing.assert_close(left[: len(voices[0])], voices[0], atol=1e-4, rtol=0)
    mixed = open_recording(conversation, "mix").whole()
    torch.testing.assert_close(mixed[: len(voices[0])], voices[0] / 2, atol=1e-4, rtol=0)
    assert sides_of(conversation, "split") == ("left", "right")
    assert sides_of(conversation, None) == (None,)
    with pytest.raises(InputError, match="found 1; wanted 2 to split"):
        sides_of(torch.zeros(10), "split")


def scenes(one, generator):
    """Two channels of one speaker, by name."""
    noise = [add_noise(one, "pink", 20.0, generator) for _ in range(2)]
    return {
        "the same twice": (one, one),
        "panned to one side": (one, 0.2 * one),
        # A metre between the microphones: the waveforms do not correlate, the loudness does.
        "far apart": (torch.cat([one, gap(0.003)]), torch.cat([gap(0.003), 0.7 * one])),
        "noise of its own in each": tuple(noise),
        "one channel silent": (one, torch.zeros_like(one)),
        "one channel hisses": (one, 0.001 * torch.randn(len(one), generator=generator)),
    }


def test_one_scene_is_mixed(tmp_path, voices):
    generator = torch.Generator().manual_seed(0)
    for name, (left, right) in scenes(voices[1], generator).items():
        check_channels(stereo(tmp_path / f"{name}.wav", left, right))


def test_channels_of_opposite_sign_would_be_silence(tmp_path, voices):
    with pytest.raises(InputError, match=r"opposite sign \(correlation -1\.00\).*--channels left"):
        check_channels(stereo(tmp_path / "a.wav", voices[0], -voices[0]))


def test_the_likeness_is_numpy_s_correlation(tmp_path, voices):
    path = stereo(tmp_path / "a.wav", *voices)
    samples = soundfile.read(path)[0]
    whole = samples[: len(samples) // 800 * 800]
    power = np.square(whole).reshape(-1, 800, 2).mean(axis=1)
    kept = (power > 1e-8).any(axis=1)
    wanted = np.corrcoef(10 * np.log10(np.maximum(power[kept], 1e-8)).T)[0, 1]
    assert likeness(path).of_loudness == pytest.approx(wanted, abs=1e-6)


def test_other_numbers_of_channels_pass(tmp_path):
    for count in (1, 3, 6):
        soundfile.write(
            tmp_path / "a.wav", np.random.default_rng(0).standard_normal((8000, count)) / 9, 16_000
        )
        check_channels(tmp_path / "a.wav")


def test_real_stereo_passes(shared_data):
    check_channels(shared_data / "speech/english/jfk/jfk.flac")


def test_files_that_are_read_whole_are_looked_at_as_those_that_are_transcribed(
    conversation, voices, tmp_path
):
    with pytest.raises(
        InputError, match=r"rows:3: channels: found speech in both.*keep one of them in the file"
    ):
        load_scene(conversation, where="rows:3")
    torch.testing.assert_close(
        load_scene(conversation, "left")[: len(voices[0])], voices[0], atol=1e-4, rtol=0
    )
    one = stereo(tmp_path / "one.wav", voices[0], voices[0])
    torch.testing.assert_close(load_scene(one), voices[0], atol=1e-4, rtol=0)
