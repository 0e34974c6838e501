"""Rooms, recorded noise, codecs, clipping and speed: against other implementations, and where each sound belongs."""

from __future__ import annotations

import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import fftconvolve
from sound import rms, seeded

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.chance import between, happens
from amalia_mm.audio.clipping import Clipping
from amalia_mm.audio.codecs import CODECS, Codecs, through
from amalia_mm.audio.noise import RecordedNoise, add_noise, some_colour
from amalia_mm.audio.rooms import Rooms, reverberate
from amalia_mm.audio.sounds import Sounds
from amalia_mm.audio.speed import at_speed, num_samples_at
from amalia_mm.errors import InputError


def speechlike(num_samples: int = 16_000) -> torch.Tensor:
    """A voice of 120 Hz and its harmonics up to 3 kHz, in syllables."""
    time_s = torch.arange(num_samples) / 16_000
    voice = sum(torch.sin(2 * math.pi * 120 * k * time_s + k) / k for k in range(1, 26))
    return 0.1 * voice * (1.1 + torch.sin(2 * math.pi * 4 * time_s))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two noises of their own pitch, one longer than the other, and one in a tar beside a record."""
    for name, seconds, pitch in (("b.wav", 0.5, 500), ("a.flac", 0.25, 1000)):
        time = np.arange(round(seconds * 16_000)) / 16_000
        soundfile.write(tmp_path / name, 0.3 * np.sin(2 * np.pi * pitch * time), 16_000)
    (tmp_path / "notes.txt").write_text("not a sound")
    soundfile.write(tmp_path / "c.wav", np.full(800, 0.1), 16_000)
    with tarfile.open(tmp_path / "shard-000000.tar", "w") as tar:
        tar.add(tmp_path / "notes.txt", "00000000.json")
        tar.add(tmp_path / "c.wav", "00000000.wav")
    (tmp_path / "c.wav").unlink()
    return tmp_path


def test_recordings_are_numbered_by_their_paths_whatever_they_lie_in(recordings: Path) -> None:
    sounds = Sounds((str(recordings),))
    assert [Path(name).name for name in sounds.names] == ["a.flac", "b.wav", "shard-000000.tar"]
    assert [len(sounds.load(number)) for number in range(3)] == [4000, 8000, 800]
    assert sounds.load(2).allclose(torch.full((800,), 0.1), atol=1e-4)
    assert sounds.load(0) is sounds.load(0)  # decoded once


def test_no_recording_is_told_before_anything_is_learned(tmp_path: Path) -> None:
    for part in ({"rooms": Rooms([str(tmp_path)])}, {"recorded_noise": RecordedNoise(["/nowhere"])}):
        with pytest.raises(InputError, match="no recording"):
            Augment(**part).check_sounds()


@given(st.floats(-5, 30), st.integers(0, 50))
def test_recorded_noise_comes_at_its_ratio_and_begins_anew(snr_db: float, seed: int) -> None:
    sounds = torch.sin(torch.arange(4000) * 0.3)
    clip = 0.2 * torch.randn(9000, generator=seeded(seed))
    noise = RecordedNoise(["x"], 1.0, (snr_db, snr_db))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sounds, "__len__", lambda self: 1)
        patch.setattr(Sounds, "load", lambda self, number: sounds)
        added = noise(clip, seeded(seed)) - clip
    assert 20 * math.log10(rms(clip) / rms(added)) == pytest.approx(snr_db, abs=0.05)
    assert added[:5000].allclose(added[4000:], atol=1e-5)


def test_a_room_is_a_convolution_that_leaves_words_where_they_were() -> None:
    clip = speechlike()
    response = torch.zeros(3000)
    response[700] = 1.0  # the way to the microphone
    response[701:] = 0.05 * torch.randn(2299, generator=seeded()) * torch.exp(-torch.arange(2299) / 500)
    heard = reverberate(clip, response)
    truth = fftconvolve(clip.double().numpy(), response[700:].double().numpy())[: len(clip)]
    truth *= rms(clip) / np.sqrt((truth**2).mean())
    assert np.abs(heard.numpy() - truth).max() < 1e-5
    assert rms(heard) == pytest.approx(rms(clip), rel=1e-5)


def test_a_room_without_echo_changes_nothing() -> None:
    clip, response = speechlike(5000), torch.zeros(100)
    response[30] = 0.7
    assert reverberate(clip, response).allclose(clip, atol=1e-6)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_keeps_length_place_and_voice(codec: str) -> None:
    """An encoder's delay, if it stayed, would move words by 70 ms; the voice stays above what is added to it."""
    clip = speechlike(24_001)
    heard = through(clip, codec)
    assert heard.shape == clip.shape and heard.dtype == torch.float32 and heard.isfinite().all()
    size = 2 * len(clip)
    product = torch.fft.irfft(torch.fft.rfft(heard, n=size) * torch.fft.rfft(clip, n=size).conj(), n=size)
    lag = int(product.argmax())
    assert min(lag, size - lag) <= 2
    assert 10 * math.log10(rms(clip) ** 2 / rms(heard - clip) ** 2) > 3
    assert torch.equal(heard, through(clip, codec))
    for num_samples in (1, 37, 1601):
        assert through(clip[:num_samples], codec).shape == (num_samples,)


@pytest.mark.parametrize("codec", ["mu-law", "a-law", "gsm"])
def test_the_telephone_hears_nothing_above_4_khz(codec: str) -> None:
    clip = speechlike() + 0.2 * torch.sin(2 * math.pi * 6000 * torch.arange(16_000) / 16_000)
    spectrum = torch.fft.rfft(through(clip, codec)).abs()
    assert spectrum[6000] < 0.01 * torch.fft.rfft(clip).abs()[6000]


def test_mu_law_is_that_of_the_standard() -> None:
    """ITU-T G.711: within half a step of the segment, relative to which a sample is at most 1/32 off."""
    ramp = torch.linspace(-0.9, 0.9, 16_000) * torch.sin(torch.arange(16_000) * 0.02)
    error = (through(ramp, "mu-law") - ramp).abs()[100:-100]
    assert (error <= ramp.abs()[100:-100] / 32 + 2e-3).float().mean() > 0.99


def test_peaks_beyond_one_go_through_and_come_out() -> None:
    clip = 3.0 * speechlike()
    assert float(through(clip, "a-law").abs().max()) == pytest.approx(float(clip.abs().max()), rel=0.1)


def test_clipping_cuts_peaks_and_nothing_else() -> None:
    clip = speechlike()
    cut = Clipping(1.0, (6.0, 6.0))(clip, seeded())
    highest = float(clip.abs().max()) * 10 ** (-6 / 20)
    assert float(cut.abs().max()) == pytest.approx(highest)
    quiet = clip.abs() < highest
    assert torch.equal(cut[quiet], clip[quiet]) and not quiet.all()


@given(st.integers(1, 20_000), st.sampled_from([0.5, 0.8, 0.9, 0.97, 1.0, 1.03, 1.1, 1.25, 2.0]))
def test_a_length_is_known_before_the_clip_is_heard(num_samples: int, speed: float) -> None:
    clip = at_speed(torch.zeros(num_samples), speed)
    assert (
        len(clip) == num_samples_at(num_samples, speed) == math.ceil(num_samples * 100 / round(speed * 100))
    )
    assert clip.dtype == torch.float32


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_faster_is_higher(speed: float) -> None:
    tone = torch.sin(2 * math.pi * 440 * torch.arange(16_000) / 16_000)
    changed = at_speed(tone, speed)
    peak_hz = float(torch.fft.rfft(changed, n=160_000).abs().argmax()) / 10
    assert peak_hz == pytest.approx(440 * speed, abs=0.5)
    assert rms(changed) == pytest.approx(rms(tone), rel=0.01)


def test_at_its_own_speed_a_clip_is_itself() -> None:
    clip = torch.randn(100)
    assert at_speed(clip, 1.0) is clip


def everything(folder: Path) -> Augment:
    return Augment(
        rooms=Rooms([str(folder)], 0.5),
        recorded_noise=RecordedNoise([str(folder)], 0.5),
        clipping=Clipping(0.5),
        codecs=Codecs(("mu-law", "gsm", "vorbis"), 0.5),
        telephone_probability=0.3,
    )


def test_all_of_it_is_a_function_of_the_seed(recordings: Path) -> None:
    augment, clip = everything(recordings), speechlike(6000)
    before = clip.clone()
    heard = [augment(clip, seeded(seed)) for seed in range(12)]
    assert all(torch.equal(augment(clip, seeded(seed)), heard[seed]) for seed in range(12))
    assert len({one.numpy().tobytes() for one in heard}) == 12
    assert all(one.shape == clip.shape and one.isfinite().all() for one in heard) and torch.equal(
        clip, before
    )


def noise_and_gain_alone(clip: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The changes there were before rooms, codecs and clipping, with the defaults written out."""
    if happens(0.5, generator):
        clip = add_noise(clip, some_colour(generator), between((10.0, 30.0), generator), generator)
    happens(0.0, generator)
    return clip * 10.0 ** (between((-12.0, 3.0), generator) / 20.0) if happens(0.5, generator) else clip


@pytest.mark.parametrize("seed", range(12))
def test_what_is_not_asked_for_draws_nothing(seed: int) -> None:
    """Else every earlier run would have heard other noise: the quickstart reproduces its losses exactly."""
    clip = speechlike(4000)
    assert torch.equal(Augment()(clip, seeded(seed)), noise_and_gain_alone(clip, seeded(seed)))


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda: Augment(speeds=()), "speeds"),
        (lambda: Augment(speeds=(1.0, 1.0)), "speeds"),
        (lambda: Augment(speeds=(0.905,)), "speeds"),
        (lambda: Augment(speeds=(3.0,)), "speeds"),
        (lambda: Rooms(["x"], 1.5), "rooms.probability"),
        (lambda: RecordedNoise(["x"], 0.5, (9.0, 1.0)), "recorded_noise.snr_db"),
        (lambda: Clipping(0.5, (9.0, 1.0)), "clipping.over_db"),
        (lambda: Codecs(("g729",)), "codecs.kinds"),
        (lambda: Codecs(()), "codecs.kinds"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        wrong()


def test_real_rooms_and_noises(shared_data: Path) -> None:
    folder = shared_data / "speech" / "noise_rir"
    rooms, noise = Rooms([str(folder / "rir")], 1.0), RecordedNoise([str(folder / "noise")], 1.0)
    assert len(rooms.sounds) == 6 and len(noise.sounds) == 5
    clip = speechlike(12_000)
    for seed in range(8):
        heard = noise(rooms(clip, seeded(seed)), seeded(seed))
        assert heard.shape == clip.shape and heard.isfinite().all() and 0.5 < rms(heard) / rms(clip) < 2
    many = Sounds((str(folder / "rir" / "real_8ch.wav"),))
    first = soundfile.read(folder / "rir" / "real_8ch.wav", dtype="float32")[0][:, 0]
    assert np.array_equal(many.load_first_channel(0).numpy(), first)
