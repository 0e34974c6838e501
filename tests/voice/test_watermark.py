"""The mark in synthesised speech: found where it is, not found where it is not, and not in the way.

How often it is found on real speech is measured in the benchmarks; here on a few clips of synthetic speech.
"""

from __future__ import annotations

import sys

import pytest
import torch
from said import spoken_clips
from torchaudio.functional import resample

from amalia_mm.audio.codecs import through
from amalia_mm.audio.noise import add_noise
from amalia_mm.units import SAMPLE_RATE_HZ
from amalia_mm.voice.watermark import Marker, _network, _normalised, _read, detect, mark


@pytest.fixture(scope="module")
def speech():
    return spoken_clips()


@pytest.fixture(scope="module")
def marked(speech):
    return [mark(clip, SAMPLE_RATE_HZ) for clip in speech]


def test_the_mark_is_found_and_so_is_its_absence(speech, marked):
    for plain, heard in zip(speech, marked, strict=True):
        assert heard.shape == plain.shape
        assert detect(heard).is_marked
        assert not detect(plain).is_marked


def test_we_read_what_perth_reads_where_we_choose_as_it_does(speech, marked):
    """Perth's own detector, on its own choice of frames and without our denoising, gives the score we compute."""
    network = _network()
    for clip in (speech[0], marked[0]):
        at_32 = resample(clip, SAMPLE_RATE_HZ, 32_000)
        with torch.inference_mode():
            magnitudes, _ = network.ap.signal_to_magphase(at_32)
            theirs = float(network.decoder(magnitudes[None])[0])
            power = network.ap.spectrogram(at_32)[: network.decoder.subband].abs().square()
            # Its choice: frames whose decibels sum to more than a twentieth of the largest sum.
            sums = magnitudes.sum(dim=0)
            ours = _read(network, _normalised(power, network.hp.stft_magnitude_min), sums > sums.max() * 0.05)
        assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize("codec", ["mp3", "opus"])
def test_codecs_keep_it(speech, marked, codec):
    assert detect(through(marked[0], codec)).is_marked
    assert not detect(through(speech[0], codec)).is_marked


def test_noise_and_a_cut_keep_it(speech, marked):
    generator = torch.Generator().manual_seed(0)
    for colour in ("white", "pink"):
        heard = add_noise(marked[1], colour, 10.0, generator)[SAMPLE_RATE_HZ // 3 :][: 3 * SAMPLE_RATE_HZ]
        plain = add_noise(speech[1], colour, 10.0, generator)[SAMPLE_RATE_HZ // 3 :][: 3 * SAMPLE_RATE_HZ]
        assert detect(heard).is_marked
        assert not detect(plain).is_marked


def test_a_voice_at_24_khz_that_became_a_telephone_call_keeps_it(speech):
    at_24 = mark(resample(speech[2], SAMPLE_RATE_HZ, 24_000), 24_000)
    assert detect(resample(resample(at_24, 24_000, 8_000), 8_000, SAMPLE_RATE_HZ)).is_marked


def test_a_marked_sentence_is_found_in_a_long_recording(speech, marked):
    assert detect(torch.cat([speech[0], speech[1], marked[2], speech[0]])).is_marked


def test_a_soft_sentence_after_a_loud_one_is_marked_and_pauses_are_not(speech):
    """30 dB softer: all of it is far below the loudest frame so far."""
    soft = 10.0 ** (-30 / 20) * speech[1]
    marker = Marker(SAMPLE_RATE_HZ)
    heard = torch.cat([marker.push(speech[0]), marker.push(soft), marker.flush()])
    assert detect(heard[len(speech[0]) :]).is_marked
    pause = torch.full((SAMPLE_RATE_HZ,), 1e-4) * torch.randn(SAMPLE_RATE_HZ)
    said = torch.cat([speech[0], pause, speech[1], speech[2]])
    change = mark(said, SAMPLE_RATE_HZ) - said
    inside = slice(len(speech[0]) + SAMPLE_RATE_HZ // 4, len(speech[0]) + 3 * SAMPLE_RATE_HZ // 4)
    assert float(change[inside].abs().max()) < 1e-6 < 1e-3 < float(change.abs().max())


def test_a_stream_is_marked_like_the_whole(speech, marked):
    """Half-second pieces: nothing is lost or moved, no click where they meet, and the mark is found."""
    plain = speech[0]
    marker = Marker(SAMPLE_RATE_HZ)
    pieces = [marker.push(piece) for piece in plain.split(SAMPLE_RATE_HZ // 2)]
    assert len(plain) - sum(map(len, pieces)) == SAMPLE_RATE_HZ // 100, "10 ms are held back"
    streamed = torch.cat([*pieces, marker.flush()])
    assert streamed.shape == plain.shape
    assert detect(streamed).is_marked
    change, whole = streamed - plain, marked[0] - plain
    assert change.diff().abs().max() <= 1.5 * whole.diff().abs().max()
    assert 0.7 < float(change.norm() / whole.norm()) < 1.4


def test_nothing_above_2_khz_is_touched_and_nothing_is_loud(speech, marked):
    change = marked[0] - speech[0]
    spectrum = torch.fft.rfft(change).abs().square()
    above = int(len(spectrum) * 2_500 / (SAMPLE_RATE_HZ / 2))
    assert spectrum[above:].sum() < 1e-3 * spectrum.sum()
    assert change.norm() < 0.35 * speech[0].norm(), "9 dB below the speech at least"


@pytest.mark.parametrize("num_samples", [0, 1, 159, 160, 161, 513, 4_000])
def test_any_length_comes_out_as_long(num_samples):
    clip = torch.randn(num_samples) * 0.1
    assert mark(clip, SAMPLE_RATE_HZ).shape == clip.shape
    assert not detect(clip).is_marked


@pytest.mark.parametrize("name", ["silence", "noise", "tone", "clicks"])
def test_odd_sounds_are_not_taken_for_it(name):
    time_s = torch.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sound = {
        "silence": torch.zeros(len(time_s)),
        "noise": torch.randn(len(time_s)) * 0.1,
        "tone": torch.sin(2 * torch.pi * 440 * time_s),
        "clicks": (torch.arange(len(time_s)) % 4_000 == 0).float(),
    }[name]
    assert not detect(sound).is_marked
    if name == "silence":
        assert torch.equal(mark(sound, SAMPLE_RATE_HZ), sound)


def test_perth_says_nothing_on_stdout_and_leaves_no_module_behind(capsys):
    _network.cache_clear()
    _network()
    assert capsys.readouterr().out == ""
    assert getattr(sys.modules.get("pkg_resources"), "__file__", "real") is not None
