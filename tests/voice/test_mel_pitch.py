"""The pitch that log-mel frames have is the pitch of what was said, whatever vowel it was said with."""

from __future__ import annotations

import pytest
import torch

from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.mel_pitch import check_pitch_is_in, pitch_of_frames

VOWELS_HZ = {"a": (730, 1_090), "i": (290, 2_250), "u": (320, 800)}


def spoken(hz: float, rate_hz: int, formants_hz: tuple[int, int], noise: float = 0.02) -> torch.Tensor:
    """One second of harmonics that fall by 6 dB an octave, louder around two formants, with a little noise."""
    time_s = torch.arange(rate_hz) / rate_hz
    waveform = noise * torch.randn(rate_hz, generator=torch.Generator().manual_seed(0))
    for k in range(1, int(rate_hz / 2 / hz)):
        around = sum(1 / (1 + ((k * hz - formant) / 80) ** 2) for formant in formants_hz)
        waveform += (0.05 + around) / k * torch.cos(2 * torch.pi * k * hz * time_s + k * k)
    return 0.05 * waveform[None]


@pytest.mark.parametrize(("rate_hz", "num_mels"), [(16_000, 80), (24_000, 100)])
@pytest.mark.parametrize("vowel", VOWELS_HZ)
@pytest.mark.parametrize("hz", [75.0, 95.0, 140.0, 210.0, 330.0])
def test_a_vowel_has_the_pitch_it_was_said_with(rate_hz, num_mels, vowel, hz):
    mel = VoiceMel(rate_hz, num_mels)
    found, likeness = pitch_of_frames(mel(spoken(hz, rate_hz, VOWELS_HZ[vowel])), mel)
    inside = slice(4, -4)
    # A quarter of a semitone.
    assert float((found[0, inside] / hz).log2().abs().max()) < 1 / 48
    assert float(likeness[0, inside].min()) > 0.7


def test_noise_and_silence_are_like_no_pitch():
    mel = VoiceMel(16_000, 80)
    noise = 0.1 * torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))
    _, likeness = pitch_of_frames(mel(noise), mel)
    assert float(likeness.quantile(0.9)) < 0.75, "a voice has 0.9"
    _, likeness = pitch_of_frames(mel(torch.zeros(1, 32_000)), mel)
    assert float(likeness.max()) < 0.1


def test_louder_is_no_other_pitch_and_a_frame_is_read_by_itself():
    mel = VoiceMel(16_000, 80)
    frames = mel(spoken(120.0, 16_000, VOWELS_HZ["a"]))
    hz, likeness = pitch_of_frames(frames, mel)
    again_hz, again = pitch_of_frames(frames[:, :, 7:9] + 2.0, mel)
    torch.testing.assert_close(again_hz, hz[:, 7:9])
    torch.testing.assert_close(again, likeness[:, 7:9], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("rate_hz", "num_mels", "fft_samples"),
    [(16_000, 80, 256), (16_000, 20, 1024), (16_000, 8, 1024), (44_100, 80, 1024)],
)
def test_frames_too_coarse_for_a_pitch_are_refused(rate_hz, num_mels, fft_samples):
    mel = VoiceMel(rate_hz, num_mels, fft_samples)
    with pytest.raises(ValueError, match="no pitch can be read"):
        check_pitch_is_in(mel)
    with pytest.raises(ValueError, match="no pitch can be read"):
        pitch_of_frames(torch.zeros(1, num_mels, 3), mel)


@pytest.mark.parametrize(("rate_hz", "num_mels"), [(16_000, 80), (24_000, 100)])
def test_the_frames_of_our_recipes_have_it(rate_hz, num_mels):
    check_pitch_is_in(VoiceMel(rate_hz, num_mels))
