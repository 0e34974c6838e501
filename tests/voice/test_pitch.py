"""How high a voice is: tones whose pitch is known, and librosa's own YIN on a voice."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from amalia_mm.voice.pitch import pitch_hz


def harmonics(hz, sample_rate_hz):
    """A sound (n) of ten harmonics that fall off, its pitch given sample by sample."""
    phase = 2 * np.pi * np.cumsum(hz) / sample_rate_hz
    sound = sum(np.sin(k * phase) / k for k in range(1, 11))
    return torch.tensor(0.2 * sound, dtype=torch.float32)


@pytest.mark.parametrize("sample_rate_hz", [16_000, 24_000])
@pytest.mark.parametrize("hz", [70.0, 118.0, 231.0, 395.0])
def test_the_pitch_of_a_steady_sound_is_found(hz, sample_rate_hz):
    sound = harmonics(np.full(sample_rate_hz // 2, hz), sample_rate_hz)
    found = pitch_hz(sound[None], sample_rate_hz, 256)[0]
    assert len(found) == len(sound) // 256 + 1
    inside = found[6:-6]
    assert float((inside / hz - 1).abs().max()) < 0.01


def test_a_glide_is_followed_at_the_right_frames():
    rate = 16_000
    hz = np.linspace(100, 220, rate)
    found = pitch_hz(harmonics(hz, rate)[None], rate, 256)[0]
    wanted = torch.tensor(hz[np.minimum(np.arange(len(found)) * 256, rate - 1)], dtype=torch.float32)
    assert float((found[6:-6] / wanted[6:-6] - 1).abs().max()) < 0.03


def test_silence_and_noise_have_no_pitch():
    rate = 16_000
    noise = 0.1 * torch.randn(1, rate, generator=torch.Generator().manual_seed(0))
    assert not pitch_hz(torch.zeros(1, rate), rate, 256).any()
    assert float((pitch_hz(noise, rate, 256) > 0).float().mean()) < 0.1


def test_rows_do_not_know_of_each_other():
    rate = 16_000
    short, long = harmonics(np.full(6000, 150.0), rate), harmonics(np.full(9000, 90.0), rate)
    together = pitch_hz(torch.nn.utils.rnn.pad_sequence([short, long], batch_first=True), rate, 256)
    alone = pitch_hz(short[None], rate, 256)[0]
    torch.testing.assert_close(together[0, : len(alone)], alone)


def test_a_hop_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="hop_samples 255"):
        pitch_hz(torch.zeros(1, 4000), 16_000, 255)


def test_it_agrees_with_librosa_on_a_real_voice(shared_data):
    """Frames that both find a pitch in, looking at about as much of the voice: nearly all within half a semitone."""
    clip = sorted((shared_data / "speech" / "librispeech_10spk").rglob("*.*"))
    audio = next(path for path in clip if path.suffix in (".flac", ".wav", ".ogg", ".opus", ".mp3"))
    sound, rate = librosa.load(audio, sr=16_000, duration=4.0)
    reference, is_voiced, _ = librosa.pyin(
        sound, fmin=60, fmax=420, sr=rate, hop_length=256, frame_length=1024
    )
    found = pitch_hz(torch.from_numpy(sound)[None], rate, 256)[0].numpy()
    both = is_voiced & (found > 0)
    assert both.sum() > 40
    off = np.abs(12 * np.log2(found[both] / reference[both]))
    assert np.mean(off < 0.5) > 0.9
