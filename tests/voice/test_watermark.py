"""The mark in synthesised speech: found where it is, not found where it is not, and not in the way."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import soxr
import torch
from spoken import of_mixed_lengths

from amalia_mm.audio.codecs import through
from amalia_mm.audio.noise import add_noise
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.watermark import DEPTH_DB, Marker, detect, mark

RATES_HZ = (8_000, 16_000, 24_000, 48_000)


@pytest.fixture(scope="module")
def speech():
    """Six clips of 6 s, of synthetic speech in several voices."""
    sound = torch.cat([clip.waveform for clip in of_mixed_lengths(12)]).numpy()
    return [sound[start : start + 96_000] for start in range(0, 6 * 96_000, 96_000)]


def noise(num_samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, num_samples).astype(np.float32)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_nothing_but_the_loudness_of_cells_is_changed(rate_hz):
    """Of noise, the marked and the plain spectrum differ by the depth and no more, and as often up as down."""
    plain = noise(4 * rate_hz)
    marked = mark(plain, rate_hz)
    assert marked.shape == plain.shape
    assert marked.dtype == np.float32
    frames = np.fft.rfft(plain.reshape(-1, rate_hz // 25)), np.fft.rfft(marked.reshape(-1, rate_hz // 25))
    ratio_db = 20 * np.log10(np.abs(frames[1]).mean(0) / np.abs(frames[0]).mean(0))
    assert np.abs(ratio_db).max() < DEPTH_DB
    difference_db = 10 * np.log10(np.square(plain).sum() / np.square(marked - plain).sum())
    # 1 dB up and down is 0.122 and -0.109 of the amplitude: 18.7 dB below it, less what neighbouring cells even out.
    assert 18 < difference_db < 24


def test_what_the_pattern_does_not_reach_stays_as_it_was():
    """Below 300 Hz and above 5.5 kHz nothing is touched, silence stays silence."""
    for tone_hz in (100, 7_000):
        plain = np.sin(2 * np.pi * tone_hz * np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ).astype(np.float32)
        assert np.abs(mark(plain, SAMPLE_RATE_HZ) - plain)[600:-600].max() < 2e-3
    assert not mark(np.zeros(1000, np.float32), SAMPLE_RATE_HZ).any()


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_stream_is_the_whole(rate_hz):
    plain = noise(rate_hz, seed=3)
    whole, marker = mark(plain, rate_hz), Marker(rate_hz)
    cuts = np.sort(np.random.default_rng(1).integers(0, rate_hz, 23))
    pieces = [marker.push(piece) for piece in np.split(plain, cuts)]
    late_samples = rate_hz - sum(map(len, pieces))
    assert late_samples <= rate_hz * 0.032
    assert np.allclose(np.concatenate([*pieces, marker.flush()]), whole, atol=1e-6)


@pytest.mark.parametrize("num_samples", [0, 1, 127, 128, 129, 511, 512, 513])
def test_any_length_comes_out_as_long(num_samples):
    assert len(mark(noise(num_samples), SAMPLE_RATE_HZ)) == num_samples
    assert not detect(noise(num_samples)).is_marked


def test_a_sample_rate_without_whole_frames_is_refused():
    with pytest.raises(ValueError, match="22050 is not a multiple of 125"):
        Marker(22_050)


def test_the_mark_is_found_and_its_absence_too(speech):
    for plain in speech:
        assert detect(mark(plain, SAMPLE_RATE_HZ)).is_marked
        assert not detect(plain).is_marked


@pytest.mark.parametrize("codec", ["mp3", "opus", "vorbis"])
def test_codecs_keep_it(speech, codec):
    for plain in speech:
        assert detect(through(torch.from_numpy(mark(plain, SAMPLE_RATE_HZ)), codec).numpy()).is_marked
        assert not detect(through(torch.from_numpy(plain), codec).numpy()).is_marked


def test_noise_and_a_cut_keep_it(speech):
    generator = torch.Generator().manual_seed(0)
    for number, plain in enumerate(speech):
        marked = torch.from_numpy(mark(plain, SAMPLE_RATE_HZ))
        heard = add_noise(marked, "white", 10.0, generator)[number * 7_919 :][: 3 * SAMPLE_RATE_HZ]
        assert detect(heard.numpy()).is_marked


def test_a_voice_at_24_khz_that_became_a_telephone_call_keeps_it(speech):
    for plain in speech:
        at_24 = mark(soxr.resample(plain, SAMPLE_RATE_HZ, 24_000), 24_000)
        at_8 = soxr.resample(at_24, 24_000, 8_000)
        assert detect(soxr.resample(at_8, 8_000, SAMPLE_RATE_HZ)).is_marked


def test_a_marked_sentence_is_found_in_a_long_recording(speech):
    hidden = np.concatenate([*speech[:5], mark(speech[5], SAMPLE_RATE_HZ), *speech[:5]])
    assert detect(hidden).is_marked
    assert not detect(np.concatenate([*speech, *speech])).is_marked


@pytest.mark.parametrize("name", ["silence", "tone", "clicks", "hum that repeats with the pattern"])
def test_odd_sounds_are_not_taken_for_it(name):
    time_s = np.arange(10 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sound = {
        "silence": np.zeros(len(time_s)),
        "tone": np.sin(2 * np.pi * 440 * time_s),
        "clicks": (np.arange(len(time_s)) % 4_000 == 0) * 1.0,
        "hum that repeats with the pattern": np.resize(noise(24_576, seed=4), len(time_s)),
    }[name]
    assert not detect(sound.astype(np.float32)).is_marked


def test_the_pattern_is_the_same_for_ever():
    """Files that were marked by one version are found by all later ones."""
    buffer = io.BytesIO()
    soundfile.write(buffer, mark(noise(8_000), 8_000), 8_000, format="FLAC")
    marked = mark(np.ones(8_000, np.float32) * noise(8_000, 5), 8_000)
    assert detect(soxr.resample(marked, 8_000, SAMPLE_RATE_HZ)).score > 5
