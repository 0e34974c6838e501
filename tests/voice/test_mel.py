"""The frames of a voice are those that Vocos' weights were trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from amalia_mm.voice.mel import VoiceMel

SIZES = {"sample_rate_hz": 16_000, "num_mels": 40, "fft_samples": 512, "hop_samples": 128}


def speech(num_samples: int = 9_000, rows: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return 0.2 * torch.randn(rows, num_samples, generator=generator)


@pytest.mark.parametrize("sizes", [{}, SIZES], ids=["24 kHz", "small"])
def test_frames_are_those_of_torchaudio(sizes):
    ours = VoiceMel(**sizes)
    theirs = MelSpectrogram(
        ours.sample_rate_hz, ours.fft_samples, hop_length=ours.hop_samples, n_mels=ours.num_mels, power=1
    )
    waveform = speech()
    expected = theirs(waveform).clip(min=1e-7).log()
    assert torch.allclose(ours(waveform), expected, atol=1e-5)
    assert ours(waveform).shape == (2, ours.num_mels, ours.num_frames(9_000))


def test_a_frame_is_what_the_definition_says():
    """Summed by hand: a window around its sample, amplitudes, triangles, the natural logarithm."""
    mel = VoiceMel(**SIZES)
    waveform = speech(4_000, rows=1)
    frame, centre = 9, 9 * 128
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    piece = waveform[0, centre - 256 : centre + 256].double().numpy() * window
    amplitudes = np.abs(np.fft.rfft(piece))
    highest = 2595 * np.log10(1 + 8_000 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, 42) / 2595) - 1)
    bins = np.arange(257) * 16_000 / 512
    for number in (3, 20, 39):
        low, peak, high = corners[number : number + 3]
        triangle = np.clip(np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)), 0, None)
        assert float(mel(waveform)[0, number, frame]) == pytest.approx(
            np.log(triangle @ amplitudes), abs=1e-4
        )


def test_silence_has_a_logarithm():
    assert torch.equal(VoiceMel(**SIZES)(torch.zeros(1, 2_000)).unique(), torch.tensor([1e-7]).log())


def test_a_module_on_the_meta_device_needs_no_repair():
    with torch.device("meta"):
        mel = VoiceMel(**SIZES)
    assert torch.equal(mel(speech()), VoiceMel(**SIZES)(speech()))
    assert not list(mel.parameters()) and not list(mel.buffers())


def test_autocast_does_not_round_a_waveform():
    mel, waveform = VoiceMel(**SIZES), speech()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mel(waveform), VoiceMel(**SIZES)(waveform))


def test_what_is_no_float32_or_too_short_is_refused():
    with pytest.raises(ValueError, match="float32"):
        VoiceMel()(speech().double())
    with pytest.raises(ValueError, match="512 samples"):
        VoiceMel()(speech(512))
